"""What a variant of the document is: the record that each room declares at its foot."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import shapes
from .costs.formula import Costs, Formula
from .costs.report import NOT_COUNTED, ConvResult, Pass


class Array(NamedTuple):
    """An array that a variant's function takes.

    Attributes
    ----------
    role : str
        "image"; "weight" or "bias", which are parameters; "positions", which are read and not
        multiplied; or "factor".
    shape : str
        In the letters of the formulas: "M, C/g, KH, KW".
    """

    role: str
    shape: str


class Photo(NamedTuple):
    """A photo's feature maps, and weights of every shape to convolve them with.

    Attributes
    ----------
    x : numpy.ndarray (N, C, H, W)
    each : numpy.ndarray (C, 1, K, K)
        A kernel for each channel.
    mix : numpy.ndarray (M, C)
        A share of each channel in each output.
    dense : numpy.ndarray (M, C, K, K)
        A kernel for each pair of channels.
    column, row : numpy.ndarray (K,)
        Two lines of taps.
    offsets : numpy.ndarray (2·K·K, C, K, K)
        The kernel of an offset branch.
    groups : int
        Divides C and M.
    """

    x: np.ndarray
    each: np.ndarray
    mix: np.ndarray
    dense: np.ndarray
    column: np.ndarray
    row: np.ndarray
    offsets: np.ndarray
    groups: int


@dataclass(frozen=True, eq=False)
class Variant:
    """One variant: everything that walks over the variants finds it here.

    Attributes
    ----------
    name, korean : str
        What to call it.
    section : str
        The document's section.
    idea : str
        What its picture shows.
    function : callable
        What a user calls.
    passes : dict of str to str
        What the report counts apart, in order, and what multiplies there: an array of the function
        or, where the loops make them for themselves, "numbers" or "kept" arrays.
    arrays : dict of str to Array
        The arrays that the function takes, by the names of its arguments.
    costs : callable
        Takes a checked call, and returns a function that gives its formulas, independent of the
        loops: `functools.partial` of one in `costs.formulas`, its numbers N first and the window
        last. It keeps sizes, and no arrays: a report lives longer than its call.
    example : dict
        Sizes (C, M, H, W, KH, KW, g …) of a call that is small enough to look at.
    options : dict
        Its keywords.
    photo : callable
        Runs the variant on a photo.
    direct : callable, optional
        Runs the textbook loops on a checked call, and returns the output and what each pass
        counted. A variant that is made of others has none.
    any_method : bool
        Whether other methods may run its calls: their output is the grouped, transposed or
        deformable convolution of their arrays, and nothing else.
    place : callable, optional
        Where the loops keep a line of an image between two passes, padded at its ends: tells from
        (job, place in the line) and the loops' arguments by name which pixel (n, c, h, w) it is.
    not_counted : tuple of str
        What its report leaves out.
    """

    name: str
    korean: str
    section: str
    idea: str
    function: Callable[..., ConvResult]
    passes: Mapping[str, str]
    arrays: Mapping[str, Array]
    costs: Callable[..., Callable[[], Costs]]
    example: Mapping[str, int]
    photo: Callable[[Photo], ConvResult]
    options: Mapping[str, Any] = field(default_factory=dict)
    direct: Callable[[Any], tuple[np.ndarray, tuple[Pass, ...]]] | None = None
    any_method: bool = False
    place: Callable[..., tuple[int, ...]] | None = None
    not_counted: tuple[str, ...] = NOT_COUNTED

    @functools.cached_property
    def keywords(self) -> set[str]:
        """The options that its function takes."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - set(self.arrays)

    @functools.cached_property
    def needed(self) -> tuple[str, ...]:
        """The arrays that its function cannot do without, in order."""
        parameters = inspect.signature(self.function).parameters
        return tuple(
            name for name in self.arrays if parameters[name].default is inspect.Parameter.empty
        )

    def shapes(self, sizes: Mapping[str, int], **options: Any) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array for a call of these sizes.

        Parameters
        ----------
        sizes : dict of str to int
            For each letter of the arrays' shapes; N, G and g are 1 where they are left out, OH and
            OW follow.
        **options
            Keywords of the call.

        Returns
        -------
        dict of str to tuple of int
            By the arrays' names.
        """
        values = {"N": 1, "g": 1, "G": 1, **sizes}
        if any("OH" in array.shape for array in self.arrays.values()):
            steps = {k: v for k, v in options.items() if k in ("stride", "padding", "dilation")}
            window = shapes.window(
                (values["H"], values["W"]), (values["KH"], values["KW"]), **steps
            )
            values["OH"], values["OW"] = window.output
        found = {}
        for name, array in self.arrays.items():
            extents = [
                Formula.of(name, "", text, **values).value for text in array.shape.split(", ")
            ]
            found[name] = tuple(int(extent) for extent in extents)
        return found

    def small_call(self) -> list[np.ndarray]:
        """Return arrays for a call of `example` and `options`: the ones that it needs.

        They hold small whole numbers; positions lie between the pixels.
        """
        rng, sizes = np.random.default_rng(1), self.shapes(self.example, **self.options)
        return [
            rng.normal(scale=0.6, size=sizes[name])
            if self.arrays[name].role == "positions"
            else rng.integers(-3, 6, sizes[name]).astype(float)
            for name in self.needed
        ]
