"""HTML that a notebook shows, and that a file can hold."""

from __future__ import annotations


class Html(str):
    """A piece of a page. It is a string: write it to a file to open it in a browser.

    Examples
    --------
    >>> Html("<b>y</b>")
    <HTML of 8 characters>
    """

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<HTML of {len(self):,} characters>"
