"""The loops as a reader sees them: a function's source, coloured."""

from __future__ import annotations

import html
import inspect
import io
import keyword
import textwrap
import tokenize
from collections.abc import Callable
from typing import Any

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
