"""All nine variants side by side, and one convolution with its options to turn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..variants import VARIANTS
from .html import Html
from .stepper import element, play, script

CHOICES = {
    "kernel": (1, 2, 3),
    "stride": (1, 2),
    "padding": (0, 1),
    "dilation": (1, 2),
    "groups": (1, 2),
}
BEGIN = (3, 1, 0, 1, 1)


def show_family() -> Html:
    """Show small convolutions of all nine variants, which one slider moves.

    Returns
    -------
    Html
        For a notebook or a page.

    Examples
    --------
    >>> show_family()  # doctest: +ELLIPSIS
    <HTML of ... characters>
    """
    steppers = [
        element("stepper", play(name, *variant.small_call(), **variant.options), compact="")
        for name, variant in VARIANTS.items()
    ]
    return Html(element("family", None, *steppers) + script())


def show_options() -> Html:
    """Show a convolution whose kernel size, stride, padding, dilation and groups can be chosen.

    It has two channels of 4×4 pixels and makes two. All choices are traced here, and the formulas
    of the one that is shown stand beside its counts.

    Returns
    -------
    Html
        For a notebook or a page.

    Examples
    --------
    >>> show_options()  # doctest: +ELLIPSIS
    <HTML of ... characters>
    """
    rng = np.random.default_rng(4)
    x, weight = (rng.integers(-3, 6, shape).astype(float) for shape in ((2, 4, 4), (2, 2, 3, 3)))
    traces = {}
    for K, stride, padding, dilation, groups in itertools.product(*CHOICES.values()):
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        name = "grouped" if groups > 1 else "dilated" if dilation > 1 else "standard"
        taken = {key: value for key, value in options.items() if key in VARIANTS[name].keywords}
        try:
            played: Any = play(name, x, weight[:, : 2 // groups, :K, :K], **taken)
        except ValueError as error:  # the kernel reaches beyond the image
            played = str(error)
        traces[f"{K} {stride} {padding} {dilation} {groups}"] = played
    plays = {"choices": CHOICES, "begin": BEGIN, "traces": traces}
    return Html(element("options", plays, element("stepper", options="")) + script())
