"""One table, three dresses: text for a terminal, HTML for a notebook, Markdown for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape

Rows = Sequence[Sequence[str]]


def text(head: Sequence[str], rows: Rows, align: str, width: int = 100) -> list[str]:
    """Return the lines of a table; `align` holds one of ``<`` and ``>`` a column.

    The last column is wrapped at `width`.
    """
    shown = ([head] if any(head) else []) + list(rows)
    widths = [max(len(row[i]) for row in shown) for i in range(len(align))]
    room = max(20, width - sum(widths[:-1]) - 2 * len(widths[:-1]))
    widths[-1] = min(widths[-1], room)
    lines = []
    for row in shown:
        for i, part in enumerate(textwrap.wrap(row[-1], room) or [""]):
            cells = [*row[:-1], part] if i == 0 else [*[""] * (len(row) - 1), part]
            padded = (
                f"{cell:{side}{wide}}"
                for cell, side, wide in zip(cells, align, widths, strict=True)
            )
            lines.append("  ".join(padded).rstrip())
    return lines


def line(cells: Iterable[str], columns: Mapping[str, str]) -> str:
    """Return one row, for tables that are printed as they grow.

    `columns` gives for each head the side and width of its cells: "<19".
    """
    widths = columns.values()
    return " ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def html(head: Sequence[str], rows: Rows, align: str, caption: str) -> str:
    """Return the table as HTML without scripts or style sheets, which code hosts would strip."""

    def line(cells: Sequence[str], tag: str) -> str:
        inner = ""
        for cell, side in zip(cells, align, strict=True):
            indent = "&emsp;" if cell.startswith(" ") else ""
            style = f"text-align:{'left' if side == '<' else 'right'}"
            inner += f'<{tag} style="{style}">{indent}{escape(cell.strip())}</{tag}>'
        return f"<tr>{inner}</tr>"

    body = ([line(head, "th")] if any(head) else []) + [line(row, "td") for row in rows]
    caption = escape(caption).replace("\n", "<br>")
    return f"<table><caption>{caption}</caption>{''.join(body)}</table>"


def markdown(head: Sequence[str], rows: Rows, align: str) -> str:
    """Return the table as Markdown."""
    rule = [":--" if side == "<" else "--:" for side in align]
    cells = [[cell.strip().replace("|", "\\|") for cell in row] for row in [head, rule, *rows]]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
