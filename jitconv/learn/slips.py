"""Slips in the loops of a convolution, each made, so that what it gives can be recognised."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ..costs.report import ConvResult
from ..tracing import Step, trace
from ..variant import Variant
from ..variants.dilated import zero_stuffed_kernel
from ..variants.front_door import conv2d

NEUTRAL = {"padding": 0, "stride": 1, "dilation": 1, "output_padding": 0, "bias": None}


class Call:
    """What is asked about: a variant's record, its arrays and options, and what their run gave."""

    def __init__(self, record: Variant, arrays: tuple, options: dict[str, Any]) -> None:
        self.record, self.options = record, options
        self.output, self.report = record.function(*arrays, **options)
        self.arrays = [np.asarray(array) for array in arrays]
        self.roles = [*record.arrays.values()][: len(arrays)]
        self.groups = 1
        if len(arrays) == 2 and self.roles[1].shape.split(", ")[1] in ("C/g", "1"):
            self.groups = self.arrays[0].shape[-3] // self.arrays[1].shape[1]

    @functools.cached_property
    def steps(self) -> list[Step]:
        """Each multiply of the textbook's loops; a ValueError if there are too many."""
        return trace(self.record.name, *self.arrays, **{**self.options, "method": "direct"})

    def run(self, *arrays: np.ndarray, **changed: Any) -> ConvResult:
        """Run it with other arrays, all of them, or with other options."""
        return self.record.function(*(arrays or self.arrays), **{**self.options, **changed})

    def regrouped(self, x: np.ndarray, weight: np.ndarray, groups: int) -> ConvResult:
        """Run it in other groups."""
        function = self.record.function if "groups" in self.record.keywords else conv2d
        return function(x, weight, **{**self.options, "groups": groups, "method": "auto"})


def other_runs(call: Call) -> Iterator[tuple[str, ConvResult]]:
    """Yield the runs that learners take this one for, and what they forgot."""
    for name in [name for name in NEUTRAL if name in call.options]:
        with suppress(ValueError):  # without it nothing may come out
            other = call.run(**{name: NEUTRAL[name]})
            yield f"That is what it would be with {name}={NEUTRAL[name]}.", other
    with suppress(KeyError, ValueError):  # there may be no dilation
        spread = [
            zero_stuffed_kernel(a, call.options["dilation"]) if record.role == "weight" else a
            for record, a in zip(call.roles, call.arrays, strict=True)
        ]
        yield "The gaps between the taps are counted as well.", call.run(*spread, dilation=1)
    if {"stride", "dilation"} <= call.record.keywords:
        defaults = inspect.signature(call.record.function).parameters
        stride, rate = (call.options.get(k, defaults[k].default) for k in ("stride", "dilation"))
        text = "Stride and dilation have changed places: one moves the window, the other its taps."
        with suppress(ValueError):  # nothing may come out
            yield text, call.run(stride=rate, dilation=stride)
    if call.groups > 1:
        x, weight = call.arrays
        seen = f"each output channel sees {weight.shape[1]} of the {x.shape[-3]} input channels"
        every = np.tile(weight, (1, call.groups, 1, 1))
        yield f"You forgot /g: {seen}.", call.regrouped(x, every, 1)


def slipped_outputs(call: Call) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what slips in the loops would give, and what to say of each."""
    for text, run in other_runs(call):
        yield text, run.output
    if call.groups > 1:
        x, weight = call.arrays
        m, c = np.arange(weight.shape[0]), np.arange(weight.shape[1])
        for text, group in (
            ("Every output channel reads the first group.", 0 * m),
            ("Output channel m reads group m % g; its own is m // (M/g).", m % call.groups),
        ):
            read = (group[:, np.newaxis] * len(c) + c).ravel()
            yield text, call.regrouped(x[..., read, :, :], weight, len(m)).output
    slips = [dict(slips_of(*role, a)) for role, a in zip(call.roles, call.arrays, strict=True)]
    for text in dict.fromkeys(itertools.chain(*slips[::-1])):
        having = [i for i, each in enumerate(slips) if text in each]
        for chosen in [having, *([i] for i in having)]:  # in all of them, or in one
            given = [slips[i][text] if i in chosen else a for i, a in enumerate(call.arrays)]
            with suppress(ValueError):  # of another shape it may not fit
                yield text, call.run(*given).output
    for what, part in (
        ("row", np.s_[..., :-1, :]),
        ("column", np.s_[..., :-1]),
        ("row and column", np.s_[..., :-1, :-1]),
    ):
        yield f"The last {what} is missing.", _only(call.output, part)
    yield "Rows come first, then columns.", call.output.swapaxes(-1, -2)
    with suppress(ValueError):  # it may be too large to be traced
        yield "Only the last product is left: add them all (`+=`).", _last_products(call)


def slips_of(role: str, shape: str, a: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what slips make of an array, and what to say of each."""
    axes = shape.split(", ")[: a.ndim]
    if role == "image":
        for which, part in ("first", np.s_[..., :1, :, :]), ("last", np.s_[..., -1:, :, :]):
            yield f"Only the {which} input channel is counted.", _only(a, part)
        yield "Each tap reads the pixel above and left of its own.", np.roll(a, 1, (-2, -1))
    if role == "positions":
        pairs = a.reshape(*a.shape[:-3], -1, 2, *a.shape[-2:])
        yield "Of each pair of offsets the first is down.", np.flip(pairs, -3).reshape(a.shape)
        yield "The taps do not move.", np.zeros_like(a)
        yield "The taps move the other way.", -a
        yield "The nearer pixel has the greater weight.", np.floor(a) + np.ceil(a) - a
    if role == "weight":
        taps = tuple(i for i, axis in enumerate(axes) if axis[0] == "K")
        yield "The kernel is turned by 180°.", np.flip(a, taps)
        if len(taps) == 2:
            yield "The kernel is transposed: its rows are columns.", a.swapaxes(*taps)
        for text, kept in (
            ("The last taps are left out.", slice(-1)),
            ("The first taps are left out.", slice(1, None)),
            ("Only the last tap is left: add them all (`+=`).", slice(-1, None)),
        ):
            yield text, _only(a, tuple(kept if i in taps else slice(None) for i in range(a.ndim)))
        if a.ndim > 1:
            m = next(i for i, axis in enumerate(axes) if axis[0] in "MB")
            first = np.repeat(a.take([0], m), a.shape[m], m)
            yield "Every output channel takes the first filter.", first
            yield "The weight's channels in and out have changed places.", a.swapaxes(0, 1)


def _only(a: np.ndarray, part: Any) -> np.ndarray:
    rest = np.zeros_like(a)
    rest[part] = a[part]
    return rest


def _last_products(call: Call) -> np.ndarray:
    """Return what is left where each product replaces the sum that it should be added to."""
    y = np.zeros((1, *call.output.shape)[-4:])
    last = [step for step in call.steps if step.part == [*call.record.passes][-1]]
    for step in sorted(last, key=lambda step: (step.around or (), step.weight or ())):
        y[step.output] = step.value * step.factor
    return y.reshape(call.output.shape)
