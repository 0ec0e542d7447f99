"""A formula as text with its exact value, and the formulas of a call by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from .. import checks


class Formula(NamedTuple):
    """One formula: its symbols, the numbers put in, its value, and where it comes from.

    Attributes
    ----------
    name : str
        What it gives: "parameters", "document", "dense", "in bounds" …
    symbols, substituted : str
        The formula as the document writes it, and the same text with numbers.
    value : int or fractions.Fraction
        Exact. Only ratios are fractions.
    section : str
        The document's section, or the word that defines it.
    """

    name: str
    symbols: str
    substituted: str
    value: int | Fraction
    section: str

    @classmethod
    def of(cls, name: str, section: str, symbols: str, **values: int) -> Formula:
        """Put the values into the symbols, and compute the very text that results.

        Parameters
        ----------
        name, section : str
            As in the class.
        symbols : str
            A formula of symbols, numbers, brackets, ⌊ ⌋ and + − · /.
        **values : int
            The number for each symbol. ``T`` and what begins with ``U_`` or ``V_`` are counts, of
            any size.

        Returns
        -------
        Formula
            With the numbers put in, and the exact value.

        Raises
        ------
        TypeError, ValueError
            If a number is no integer, negative, or 2³¹ and more; or the text is no formula, or
            divides by zero.
        KeyError
            If a symbol has no number.

        Examples
        --------
        >>> str(Formula.of("parameters", "§8", "K²·C·M/g", **{"K²": 9}, C=64, M=128, g=4))
        'K²·C·M/g = 9·64·128/4 = 18,432'
        """
        for symbol, number in values.items():
            checks.integer(symbol, number, 0, below=math.inf if symbol[0] in "TUV" else 2**31)
        tokens = [str(values[t]) if _SYMBOL.fullmatch(t) else t for t in _TOKEN.findall(symbols)]
        try:
            value = _evaluate([token for token in tokens if not token.isspace()])
        except (ArithmeticError, ValueError) as error:
            raise ValueError(f"{name}: {symbols!r} is no formula: {error}") from None
        exact = value.numerator if value.denominator == 1 else value
        return cls(name, symbols, "".join(tokens), exact, section)

    def __str__(self) -> str:
        value = f"{self.value:,}" if isinstance(self.value, int) else f"{float(self.value):.4f}"
        return " = ".join(dict.fromkeys([self.symbols, self.substituted, value]))


_SYMBOL = re.compile(r"[^\W\d]\w*")
_TOKEN = re.compile(rf"\s+|\d+|{_SYMBOL.pattern}|.")


def _evaluate(tokens: list[str]) -> Fraction:
    """Compute sum = product {+ or − product}; product = factor {· or / factor}.

    A factor is a number, or a sum in brackets, which ⌊ ⌋ round down.
    """
    rest = [*tokens[::-1]]

    def total() -> Fraction:
        value = product()
        while rest and rest[-1] in "+−":
            value = value + product() if rest.pop() == "+" else value - product()
        return value

    def product() -> Fraction:
        value = factor()
        while rest and rest[-1] in "·/":
            value = value * factor() if rest.pop() == "·" else value / factor()
        return value

    def factor() -> Fraction:
        token = rest.pop() if rest else "its end"
        if token in ("(", "⌊"):
            value = total()
            closing = rest.pop() if rest else "its end"
            if closing != {"(": ")", "⌊": "⌋"}[token]:
                raise ValueError(f"{token} is not closed before {closing}")
            return value if token == "(" else Fraction(math.floor(value))
        if not token.isdecimal():
            raise ValueError(f"there is no number before {token}")
        return Fraction(int(token))

    value = total()
    if rest:
        raise ValueError(f"+ − · or / is missing before {rest[-1]}")
    return value


class Costs(dict[str, Formula]):
    """The formulas of one call, by name and in order: ``costs["dense"].value``.

    Parameters
    ----------
    formulas : iterable of Formula
        Each with a name of its own.
    seen_as : {'convolution', 'transposed', 'deformable'}
        What other tools take such a call for.
    """

    def __init__(self, formulas: Iterable[Formula], seen_as: str = "convolution"):
        super().__init__((formula.name, formula) for formula in formulas)
        self.seen_as = seen_as

    def __missing__(self, name: str) -> Formula:
        raise KeyError(f"{name!r} is none of {', '.join(self)}")
