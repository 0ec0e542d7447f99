"""Look through a built site: every link leads somewhere, and nothing is loaded from elsewhere.

Sphinx knows its own links; this reads the pages as a browser does, with the HTML that notebooks
keep and that functions of jitconv make.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"src", "poster", "data", "background"}  # and the href of a <link>, or in SVG
ELSEWHERE = re.compile(r"(https?:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s;]+)""")


class Page(HTMLParser):
    """The anchors of a page, what it links to and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = {"", "top"}, set(), set()
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort the attributes."""
        for name, value in attrs:
            name, value = name.removeprefix("xlink:"), value or ""
            if name == "id" or (tag, name) == ("a", "name"):
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.add(value)
            elif name in LOADS or name == "href":
                self.loads.add(value)
            elif name == "srcset":
                self.loads.update(each.split()[0] for each in value.split(","))
            elif name == "style":
                self.loads.update(IN_STYLES.findall(value))

    def handle_data(self, data: str) -> None:
        """Read styles."""
        if self.cdata_elem == "style":
            self.loads.update(IN_STYLES.findall(data))


def faults(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere, and for each load from elsewhere."""
    files = {path for path in site.rglob("*") if path.is_file()}
    pages = {
        path: Page(path)
        for path in files
        if path.suffix == ".html" and "_static" not in path.parts  # the theme's templates
    }
    found = []
    for path, page in pages.items():
        found += [f"{path}: loads {url}" for url in page.loads if ELSEWHERE.match(url)]
        for url in page.links | page.loads:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target not in files:
                found.append(f"{path}: no file for {url}")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{path}: no anchor for {url}")
    for path in files:
        if path.suffix == ".css":
            urls = IN_STYLES.findall(path.read_text(encoding="utf8"))
            found += [f"{path}: loads {url}" for url in urls if ELSEWHERE.match(url)]
    return sorted(found)


if __name__ == "__main__":
    sys.exit("\n".join(faults(Path(sys.argv[1]).resolve())) or None)
