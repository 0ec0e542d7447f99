"""The loops as a reader sees them: in colour, and marked where they differ from others."""

from __future__ import annotations

import difflib
import html
import inspect
import io
import keyword
import re
import textwrap
import tokenize
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import jit
from ..tracing import TRACED
from ..variant import Variant
from .html import Html

# On a light page, and on a dark one; a test measures that all can be read
SHADES = {
    "text": ("#24292f", "#e6e6e6"),
    "page": ("#f6f8fa", "#1b1f24"),
    "mark": ("#fff1c2", "#443a1c"),
    "bar": ("#24292f", "#e6e6e6"),
    "k": ("#5b3aa8", "#c8b4ff"),  # keywords
    "n": ("#0b5a66", "#8fd6e0"),  # numbers
    "s": ("#0b5a66", "#8fd6e0"),  # strings
    "c": ("#57606a", "#aab2bb"),  # comments
}
PRE = (
    "margin:0 0 .6em;padding:.6em 1.2ch;max-width:100%;box-sizing:border-box;overflow-x:auto;"
    "font:.85rem/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre;tab-size:4;"
    "color:var(--text);background:var(--page);border:0;border-radius:4px"
)
CODE = '<code style="color:inherit;background:none;padding:0;border:0;font:inherit">'
MARK = '<mark style="padding:0;color:inherit;background:var(--mark);box-shadow:-.6ch 0 var(--bar)">'
STYLES = {
    "k": "color:var(--k);font-weight:600",
    "n": "color:var(--n)",
    "s": "color:var(--s)",
    "c": "color:var(--c);font-style:italic",
}

MARKS = {tokenize.COMMENT: "c", tokenize.NUMBER: "n", tokenize.STRING: "s"}


def code_lines(function: Callable[..., Any]) -> list[str]:
    """Return the lines of a function as HTML: keywords, numbers, strings and comments in spans.

    Parameters
    ----------
    function : callable
        Whose source can be read; kernels too.

    Returns
    -------
    list of str
        A line each, without the decorator. Classes are "k", "n", "s" and "c".

    Examples
    --------
    >>> def half(x):
    ...     return x / 2  # exact
    >>> code_lines(half)[1]
    '    <span class="k">return</span> x / <span class="n">2</span>  <span class="c"># exact</span>'
    """
    code = textwrap.dedent(inspect.getsource(getattr(function, "py_func", function)))
    code = code[code.index("def ") :] if code.startswith("@") else code
    lines = [""] * code.count("\n")
    written = code.splitlines()
    row, column = 1, 0
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        (top, left), (bottom, right) = token.start, token.end
        if top > len(lines) or top != bottom or not token.string.strip():
            continue
        if top > row:
            row, column = top, 0
        word = html.escape(token.string, quote=False)
        mark = "k" if keyword.iskeyword(token.string) else MARKS.get(token.type)
        lines[top - 1] += written[top - 1][column:left]
        lines[top - 1] += f'<span class="{mark}">{word}</span>' if mark else word
        column = right
    return lines


def show_loops(variant: str, against: str | None = "standard") -> Html:
    """Show the textbook loops of a variant, and mark where they differ from another's.

    They are the source of the kernels that ran in a small call, those that they call included.

    Parameters
    ----------
    variant : str
        As in `jitconv.trace`.
    against : str, optional
        The variant to compare with, line by line, without comments and indentation; None for no
        marks.

    Returns
    -------
    Html
        The code in colour. A bar and a background mark each line that the other loops do not have,
        and a line of text says so.

    Raises
    ------
    ValueError
        If there is no such variant.

    Examples
    --------
    >>> page = show_loops("dilated")
    >>> page.count("<pre"), page.count("<mark") - 1  # one is in the text that explains them
    (1, 4)
    >>> show_loops("depthwise").partition("</mark>")[2].partition("</p>")[0]
    ' not in the standard loops. Gone: the loop over <code>c</code>.'
    """
    kernels = [code_lines(kernel) for kernel in _kernels("variant", variant)]
    others = [] if against is None else _kernels("against", against)
    old = [line for kernel in others for line in code_lines(kernel)]
    codes = ["\n".join(_marked(lines, old) if old else lines) for lines in kernels]
    label = f"Python: the {variant} loops"
    before = f'<pre tabindex="0" role="region" aria-label="{label}" style="{PRE}">{CODE}'
    page = "".join(f"{before}{code}</code></pre>" for code in codes)
    if MARK in page:
        walked = _walked(codes)
        gone = [f"<code>{name}</code>" for name in _walked(old) if name not in walked]
        text = f"not in the {against} loops."
        if gone:
            text += f" Gone: the loop{'s' * (len(gone) > 1)} over {' and '.join(gone)}."
        page = f'<p style="margin:0 0 .4em 1ch">{MARK}&ensp;</mark> {text}</p>{page}'
    for name, style in STYLES.items():
        page = page.replace(f'class="{name}"', f'style="{style}"')
    shades = ";".join(f"--{name}:light-dark({a},{b})" for name, (a, b) in SHADES.items())
    return Html(f'<div style="{shades}">{page}</div>')


def _kernels(argument: str, variant: str) -> list[Any]:
    """Return the kernels that run in a variant's small call, before each those that it calls."""
    if not isinstance(variant, str) or variant not in TRACED:
        raise ValueError(f"{argument}: must be one of {', '.join(TRACED)}, got {variant!r}")
    record = TRACED[variant]
    arrays, options = [np.ones((1, 1, 1, 1))] * 3, {}  # a gradient takes dy, x and weight
    if isinstance(record, Variant):
        arrays, options = record.small_call(), dict(record.options)
    ran: list[Any] = []
    with jit.recording(lambda loops, _: ran.append(loops)):
        record.function(*arrays, **options, method="direct")
    kernels = []
    for loops in ran:
        named = (loops.__globals__.get(name) for name in loops.__code__.co_names)
        kernels += [kernel for kernel in named if hasattr(kernel, "py_func")]
        kernels.append(loops)
    return kernels


def _marked(lines: list[str], old: list[str]) -> list[str]:
    """Return the lines, marked where the old ones lack them."""
    a, b = ([_bare(line) for line in some] for some in (old, lines))
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    kept = {block.b + i for block in blocks for i in range(block.size)}
    return [
        line if i in kept or not b[i] else f"{MARK}{line}</mark>" for i, line in enumerate(lines)
    ]


def _bare(line: str) -> str:
    """Return a line of code without its comment and indentation."""
    return re.sub(r'<span class="c">.*</span>', "", line).strip()


def _walked(lines: list[str]) -> list[str]:
    """Return what the loops walk over."""
    return re.findall(r">for</span> (\w+) ", "\n".join(lines))
