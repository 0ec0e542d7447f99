"""Hypothesis strategies: small calls of every public convolution, over shapes, strides, paddings, dilations and groups."""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.strategies as st
import naive
import numba
import numpy as np

import jitconv
from jitconv.variant import Variant
from jitconv.variants import VARIANTS
from jitconv.variants.deformable import LAYER


class Call(NamedTuple):
    variant: Variant
    function: Callable
    arrays: tuple
    options: dict[str, Any]
    method: str = "auto"

    def run(self) -> jitconv.ConvResult:
        return self.function(*self.arrays, **self.options, method=self.method)

    def expected(self) -> np.ndarray:
        return getattr(naive, self.function.__name__)(*self.arrays, **self.options)

    def given(self) -> dict[str, np.ndarray]:
        """Every array by its name."""
        named = dict(zip(inspect.signature(self.function).parameters, self.arrays, strict=False))
        named.update(self.options)
        return {name: named[name] for name in self.variant.arrays if named.get(name) is not None}


# every function that convolves, and the variant whose arrays it takes
FUNCTIONS = {
    variant.function.__name__: (variant.function, variant)
    for variant in [*VARIANTS.values(), LAYER]
}
FUNCTIONS["conv2d"] = jitconv.conv2d, VARIANTS["grouped"]  # the front door

either = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))
ends = st.tuples(st.integers(0, 3), st.integers(0, 3))
OPTIONS = {
    "stride": either,
    "dilation": st.integers(1, 2) | either,
    "padding": (
        st.integers(0, 3)
        | ends
        | st.tuples(ends, ends)
        | st.sampled_from(["valid", "same", "same_lower"])
    ),
}


PIXELS = st.integers(1, 7)


@st.composite
def calls(draw, function=None, dtypes=(np.float32, np.float64), size=PIXELS):
    """Draw a call that is valid, and the loops that run it: kernels are no larger than the padded image, channels fit the groups."""
    function, variant = FUNCTIONS[function or draw(st.sampled_from(list(FUNCTIONS)))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # the oracle's own float64 offsets must put every sample on the same side of the border
    dtype = np.float64 if variant is LAYER else draw(st.sampled_from(dtypes))
    texts = [array.shape for array in variant.arrays.values()]
    deep = any(text.split(", ")[1:2] == ["1"] for text in texts)  # one channel a filter
    grouped = deep or any("/g" in text for text in texts)
    few = st.integers(1, 3) | st.integers(17, 19)  # fill no vector of channels, or one
    many = st.sampled_from([64, 70])
    some = numba.config.DISABLE_JIT or draw(st.integers(0, 7))
    MG = draw(few if some else many)  # or a wide tile
    if MG >= 64:
        size = st.integers(1, 3)
    g = draw(st.integers(1, 3)) if grouped and MG < 64 else 1
    CG = 1 if deep else draw(st.integers(1, 2))
    sizes = {"N": draw(st.integers(0, 2)), "C": g * CG, "M": g * MG, "B": g * MG, "g": g}
    if "B, 1, KH, KW" in texts:
        sizes["B"], sizes["M"] = g * min(MG, 3), MG
    sizes |= {
        "H": draw(size),
        "W": draw(size),
        "KH": draw(st.integers(1, 4)),
        "KW": draw(st.integers(1, 4)),
    }
    sizes["G"] = draw(st.sampled_from([G for G in range(1, g * CG + 1) if g * CG % G == 0]))
    options = {name: draw(OPTIONS[name]) for name in sorted(variant.keywords & set(OPTIONS))}
    if "groups" in variant.keywords:
        options["groups"] = g
    if any("KH" in text for text in texts):
        _fit(draw, sizes, options, variant.keywords)
    batched = draw(st.booleans()) or sizes["N"] != 1
    arrays = {}
    for name, shape in variant.shapes(sizes, **options).items():
        array, text = rng.normal(size=shape).astype(dtype), variant.arrays[name].shape
        if name not in variant.needed and (
            draw(st.booleans()) or (name == "mask_bias" and "mask_weight" not in arrays)
        ):
            continue
        if variant.arrays[name].role == "positions":
            array *= draw(st.sampled_from([0.0, 0.4, 2.0]))
        if text == "M, C, 1, 1" and draw(st.booleans()):
            array = array[:, :, 0, 0]
        arrays[name] = array[0] if text.startswith("N, ") and not batched else array
    positional = [
        arrays.pop(name, None)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    call = Call(variant, function, tuple(positional), {**options, **arrays})
    return call._replace(method=draw(st.sampled_from(methods(variant))))


def methods(variant):
    """Name the methods that run a variant's calls; one that is made of others hands the word on."""
    return ["direct", "tiled"] if variant.any_method or variant.direct is None else ["direct"]


def _fit(draw, sizes, options, keywords):
    """Change a padding that would leave no output; draw an output padding."""
    size, kernel = (sizes["H"], sizes["W"]), (sizes["KH"], sizes["KW"])
    stride, dilation = naive.pair(options["stride"]), naive.pair(options.get("dilation", 1))
    ends = naive.ends(options["padding"], size, kernel, stride, dilation)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    word = isinstance(options["padding"], str)
    if "output_padding" not in keywords:
        if any(h + sum(p) < r for h, p, r in zip(size, ends, reach, strict=True)):
            options["padding"] = "same"
        return
    if not word:
        most = map(max, stride, dilation)
        options["output_padding"] = tuple(draw(st.integers(0, m - 1)) for m in most)
    extra = naive.pair(options.get("output_padding", 0))
    full = [(h - 1) * s + r + e for h, s, r, e in zip(size, stride, reach, extra, strict=True)]
    if not word and any(sum(p) >= f for p, f in zip(ends, full, strict=True)):
        options["padding"] = 0


assert set(itertools.chain(*(v.keywords for v in VARIANTS.values()))) <= {
    *OPTIONS,
    "groups",
    "output_padding",
    "method",
}


def njit(function=None, *, parallel=False, jobs=False, slp=False, inline=False):
    """Stand in for `jit.njit` where loops are changed and run in plain Python."""
    if function is None:
        return functools.partial(njit, jobs=jobs)
    if not jobs:
        return function

    def all_jobs(*arrays):
        for job in range(len(arrays[-1])):
            function(job, *arrays)

    return all_jobs
