"""The check of `make site` sees what is wrong with a page, and the API lists every public module."""

import pkgutil
import runpy
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import jitconv

DOCS = Path(__file__).parents[1] / "docs"
faults = runpy.run_path(str(DOCS / "check_site.py"))["faults"]

GOOD = """
<link rel="stylesheet" href="style.css"><script src="a.js"></script><style>p { color: red }</style>
<a href="b.html#there">b</a> <a href="#here">here</a> <p id="here">…</p>
<a href="https://arxiv.org">elsewhere</a> <a href="한글%20b.html?q=1">c</a> <a href="#">top</a>
<img src="data:image/png;base64,AAAA"><svg><use href="#here"/></svg>
"""


def site(folder, page):
    for name in ("a.js", "style.css"):
        (folder / name).write_text("", encoding="utf8")
    for name in ("b.html", "한글 b.html"):
        (folder / name).write_text("<p id='there'></p>", encoding="utf8")
    (folder / "page.html").write_text(page, encoding="utf8")
    return folder


def test_a_good_page(tmp_path):
    assert faults(site(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ("<a href='none.html'>", "no file for none.html"),
        ("<a href='b.html#nowhere'>", "no anchor for b.html#nowhere"),
        ("<a href='#nowhere'>", "no anchor for #nowhere"),
        ("<img src='none.png'>", "no file for none.png"),
        ("<script src='https://cdn.org/a.js'></script>", "loads https://cdn.org/a.js"),
        ("<link rel='stylesheet' href='//cdn.org/a.css'>", "loads //cdn.org/a.css"),
        ("<img srcset='a.js, https://cdn.org/a.png 2x'>", "loads https://cdn.org/a.png"),
        ("<iframe src='HTTPS://cdn.org'></iframe>", "loads HTTPS://cdn.org"),
        ("<p style='background: url(http://cdn.org/a.png)'>", "loads http://cdn.org/a.png"),
        ("<style>@import 'https://cdn.org/a.css';</style>", "loads https://cdn.org/a.css"),
    ],
)
def test_a_faulty_page(tmp_path, tag, fault):
    assert faults(site(tmp_path, GOOD + tag)) == [f"{tmp_path / 'page.html'}: {fault}"]


def test_a_faulty_style(tmp_path):
    (site(tmp_path, GOOD) / "more.css").write_text("@font-face { src: url(https://cdn.org/a) }")
    assert faults(tmp_path) == [f"{tmp_path / 'more.css'}: loads https://cdn.org/a"]


def test_the_api_lists_every_public_module():
    listed = set((DOCS / "api.rst").read_text(encoding="utf8").split())
    named = [name for name in jitconv.__all__ if isinstance(getattr(jitconv, name), ModuleType)]
    assert {f"jitconv.{name}" for name in named} <= listed
    pytest.importorskip("dask")  # blockwise needs it
    for package in (p.name for p in pkgutil.walk_packages(jitconv.__path__, "jitconv.") if p.ispkg):
        assert not hasattr(import_module(package), "__all__") or package in listed
