"""How `make site` builds the pages, with Sphinx: the source directory is the whole repository."""

import ast
import importlib
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import jitconv

ROOT = Path(__file__).parents[1]

project = "jitconv"
copyright = "the jitconv authors"
release = version = jitconv.__version__
html_title = f"jitconv {version}"

language = "ko" if tags.has("ko") else "en"  # noqa: F821  Sphinx defines it
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "notebooks/*.ipynb"]
exclude_patterns = [".*", "site", "docs/templates", "README.ko.md"]
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autosummary", "sphinx.ext.linkcode"]
templates_path = [str(ROOT / "docs/templates")]
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"(dask|json|torch|jitconv\.bench)\..*|[a-z_]+"),  # not here; words of a docstring
    ("myst", r"section-\d"),  # a tag of HTML in document.md, where check_site.py looks
]

# Notebooks show the outputs that they keep.
nb_execution_mode = "off"
nb_merge_streams = True
if language == "ko":
    nb_code_prompt_show, nb_code_prompt_hide = "코드 보기", "코드 숨기기"
else:
    nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
myst_heading_anchors = 3  # the names that GitHub gives headings

# One page a module, from its docstrings.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
default_role = "autolink"

html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_additional_pages = {"index": "index.html"}  # which leads to the first page
html_show_search_summary = False  # it would fetch pages, which a browser refuses for file:
html_context = {"default_mode": "auto"}  # as the system: light or dark
html_theme_options = {
    "navbar_end": ["language", "theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

# `make translations` writes docs/locale; a paragraph without a translation stays English.
locale_dirs = ["docs/locale"]
gettext_compact = False
gettext_location = False


class Show(SphinxDirective):
    """Runs Python while the site is built, and shows the HTML that the last line gives."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Run it again each time: what it calls may have changed."""
        self.env.note_reread()
        *lines, last = ast.parse("\n".join(self.content)).body
        names: dict[str, Any] = {}
        exec(compile(ast.Module(lines, []), self.env.docname, "exec"), names)
        shown = eval(compile(ast.Expression(last.value), self.env.docname, "eval"), names)
        return [nodes.raw("", str(shown), format="html")]


# What a link to a file of jitconv, and "[source]" in the API, lead to: a page with its lines.
def source_page(path: Path) -> str | None:
    """Return the name of the page that shows a file or package of jitconv, or None."""
    if path.is_dir():
        path /= "__init__.py"
    if path.suffix != ".py" or not path.is_file() or ROOT / "jitconv" not in path.parents:
        return None
    return f"source/{path.relative_to(ROOT).with_suffix('').as_posix()}"


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make these pages, once for all languages."""
    if language != "en":
        return
    for path in sorted((ROOT / "jitconv").rglob("*.py")):
        code = app.builder.highlighter.highlight_block(
            path.read_text(encoding="utf8"), "python", linespans="line"
        )
        title = path.relative_to(ROOT).as_posix()
        yield source_page(path), {"title": title, "body": f"<h1>{title}</h1>{code}"}, "page.html"


def find_links(app: Sphinx, document: nodes.document) -> None:
    """Mark links to files of jitconv, which Sphinx would offer to download."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    links = [addnodes.pending_xref, addnodes.download_reference]
    for node in [node for kind in links for node in document.findall(kind)]:
        page = source_page(Path(os.path.normpath(here / node["reftarget"])))
        if page and node["reftype"] == "myst":
            node.replace_self(nodes.reference("", "", *node.children, refuri=f"source:{page}.html"))


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Mark the link from an object to the lines that define it."""
    thing: Any = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        thing = getattr(thing, name)
    thing = inspect.unwrap(getattr(thing, "fget", None) or getattr(thing, "func", thing))
    try:
        page = source_page(Path(inspect.getsourcefile(thing)))
        return f"source:{page}.html#line-{inspect.getsourcelines(thing)[1]}" if page else None
    except TypeError:  # it is data
        return None


def resolve_links(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Lead the marked links to their pages."""
    up = "../" * (docname.count("/") + (language != "en"))
    for node in document.findall(nodes.reference):
        if node.get("refuri", "").startswith("source:"):
            node["refuri"] = up + node["refuri"].removeprefix("source:")


def mend_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Call the README what it is among the docs; write links to headings as the site does."""
    if docname == "README":
        source[0] = source[0].replace("# jitconv\n\n[한국어](README.ko.md)", "# User guide", 1)
    if language == "ko":
        source[0] = source[0].replace("<summary>Solution</summary>", "<summary>풀이</summary>")
    if docname.startswith("notebooks/"):  # Jupyter keeps capitals in the names of headings
        source[0] = re.sub(r"\]\(\w*(\.ipynb)?#[^)]+\)", lambda link: link[0].lower(), source[0])


def skip_fields(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> Any:
    """Leave out the fields of a NamedTuple: the docstring of its class has told them."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.add_directive("show", Show)
    app.connect("html-collect-pages", source_pages)
    app.connect("doctree-read", find_links, priority=400)  # before downloads are collected
    app.connect("doctree-resolved", resolve_links)
    app.connect("source-read", mend_source)
    app.connect("autodoc-skip-member", skip_fields)
