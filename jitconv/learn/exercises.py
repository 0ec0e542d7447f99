"""Exercises that check themselves: an answer meets what the loops did, and gets a hint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..costs.report import ConvResult, CostReport
from ..variants import VARIANTS

Run = Callable[..., ConvResult]
WORDS = {
    "parameters": "parameters",
    "multiplies": "multiplies",
    "multiplies_on_padding": "multiplies on padding",
    "multiplies_in_bounds": "multiplies in bounds",
    "macs": "MACs",
    "flops": "FLOPs",
    "output_shape": "",
    "output": "",
    "loops": "",
}
NEUTRAL = {"padding": 0, "stride": 1, "dilation": 1, "output_padding": 0, "bias": None}


@dataclass(frozen=True, repr=False)
class Verdict:
    """Whether an answer is right, and a hint where it is not.

    Attributes
    ----------
    right : bool or None
        None where there is no answer yet.
    text : str
        What to tell the learner.
    """

    right: bool | None
    text: str

    def __bool__(self) -> bool:
        return self.right is True

    def __repr__(self) -> str:
        return {True: "✓ ", False: "✗ ", None: "… "}[self.right] + self.text


def check(
    what: str,
    answer: Any,
    variant: str,
    x: ArrayLike,
    *arrays: ArrayLike,
    **options: Any,
) -> Verdict:
    """Compare an answer with what a variant's loops do, and give a hint where it differs.

    Parameters
    ----------
    what : str
        What is asked for: a number of the report, "parameters", "multiplies",
        "multiplies_on_padding", "multiplies_in_bounds", "macs" or "flops"; "output_shape"; the
        "output" itself; or "loops" of the learner's own.
    answer : int, tuple of int, array_like or callable
        The learner's, or None while there is none. Loops take x and the arrays and return the
        output and how many multiplies they did; those on padding may be done or left out.
    variant, x, arrays, options
        As in `jitconv.trace`; and `method`, if other loops than the textbook's are asked about.

    Returns
    -------
    Verdict
        The last line of a cell shows it.

    Raises
    ------
    TypeError, ValueError
        As the variant's function; or if `what` is no such word, or the answer is not of its kind.

    Examples
    --------
    >>> x, weight = np.ones((2, 8, 8)), np.ones((4, 2, 3, 3))
    >>> check("multiplies", None, "standard", x, weight)
    … No answer yet: put yours in place of None.
    >>> check("multiplies", 5184, "standard", x, weight)
    ✗ Not 5,184. That is the FLOPs: two for each multiply and its add.
    >>> check("multiplies", 1296, "standard", x, weight)
    ✗ Not 1,296. It is 1/2 of the right number: did you count the input channels, C = 2?
    >>> check("multiplies", 2592, "standard", x, weight)
    ✓ 2,592 multiplies: M·C·K²·OH·OW = 4·2·9·6·6 = 2,592.
    """
    if what not in WORDS:
        raise ValueError(f"what: must be one of {', '.join(WORDS)}, got {what!r}")
    if variant not in VARIANTS:
        raise ValueError(f"variant: must be one of {', '.join(VARIANTS)}, got {variant!r}")
    options.setdefault("method", "direct")

    def run(*given: ArrayLike, **changed: Any) -> ConvResult:
        return VARIANTS[variant].function(x, *(given or arrays), **{**options, **changed})

    done = run()
    if answer is None:
        return Verdict(None, "No answer yet: put yours in place of None.")
    if what == "loops":
        return _check_loops(answer, done, run, (x, *arrays))
    if what == "output":
        wrong = _output_hint(answer, done.output, run, arrays)
        return Verdict(not wrong, wrong or f"All {done.output.size} numbers are right.")
    right, formula = getattr(done.report, what), _formula(what, done.report)
    if what == "output_shape":
        answer = tuple(np.atleast_1d(answer).tolist())
        shown = str(answer)
    elif isinstance(answer, (int, float, np.number)) and not isinstance(answer, bool):
        shown = f"{answer:,}"
    else:
        raise TypeError(f"answer: must be a number, got {type(answer).__name__}")
    if answer == right:
        return Verdict(True, f"{shown} {WORDS[what]}".rstrip() + f": {formula}.")
    hint = (
        _without(what, answer, run, options)
        or (what == "output_shape" and _shape_hint(answer, right))
        or (what != "output_shape" and _another_number(answer, done.report))
        or (what != "output_shape" and _factor(answer, right, _sizes(x, arrays, done.output)))
        or f"The formula is {formula.split(' = ')[0]}."
    )
    return Verdict(False, f"Not {shown}. {hint}")


def _formula(what: str, report: CostReport) -> str:
    formulas = report.costs
    dense, in_bounds = formulas["dense"], formulas["in bounds"]
    if what in ("macs", "flops"):
        kernel = f"an add follows {report.macs:,} of {report.multiplies:,} multiplies"
        return kernel if what == "macs" else f"2 × MACs = 2 × {report.macs:,}"
    if what == "multiplies_on_padding":
        return f"dense − in bounds = {dense.value:,} − {in_bounds.value:,}"
    if what == "multiplies":
        own = next((p.equals.split(",")[0] for p in report.passes if not p.by_definition), "dense")
        counted = formulas[own]
        return str(counted if report.multiplies == counted.value else in_bounds)
    if what == "parameters" and "bias" in formulas:
        return f"{formulas['parameters']}, and {formulas['bias']} of the bias"
    if what == "output_shape":  # one formula for both axes, or one for each
        return ", ".join(str(f) for name, f in formulas.items() if name.startswith("output"))
    return str(formulas["in bounds" if what == "multiplies_in_bounds" else what])


def _without(what: str, answer: Any, run: Run, options: dict[str, Any]) -> str:
    """Tell which option the answer leaves out: what a run without it gives."""
    for name, neutral in NEUTRAL.items():
        if name in options:
            try:
                other = run(**{name: neutral})
            except ValueError:  # without it nothing would come out
                continue
            if getattr(other.report, what) == answer:
                return f"That is what it would be with {name}={neutral}."
    return ""


def _shape_hint(answer: tuple, right: tuple[int, ...]) -> str:
    if len(answer) != len(right):
        return f"An output has {len(right)} axes; the last three are channels, height and width."
    if answer[:-2] != right[:-2]:
        return "An output has a channel for each filter."
    return ""


def _another_number(answer: float, report: CostReport) -> str:
    numbers = {
        "FLOPs: two for each multiply and its add": report.flops,
        "parameters: each of them multiplies once for each output pixel": report.parameters,
        "multiplies: each of them and its add are two FLOPs": report.multiplies,
        "multiplies in bounds: these loops multiply the zeros of the padding too": (
            report.multiplies_in_bounds
        ),
        "multiplies on padding alone": report.multiplies_on_padding,
        "document's count, over H·W: this output has another size": report.value("document"),
        "dense count: these loops do fewer": report.value("dense"),
        **{f"{name} alone": count for name, count in report.parts.items()},
    }
    return next((f"That is the {name}." for name, n in numbers.items() if n and n == answer), "")


def _sizes(x: ArrayLike, arrays: tuple, y: np.ndarray) -> dict[str, int]:
    kernel = next((np.shape(array)[-2:] for array in arrays[::-1] if np.ndim(array) == 4), (1, 1))
    return {
        "input channels, C": np.shape(x)[-3],
        "output channels, M": y.shape[-3],
        "taps of the kernel, K²": int(np.prod(kernel)),
        "rows of the kernel, K": kernel[0],
        "output pixels, OH·OW": y.shape[-2] * y.shape[-1],
        "images, N": y.size // int(np.prod(y.shape[-3:])),
    }


def _factor(answer: float, right: int, sizes: dict[str, int]) -> str:
    if answer < 1 or not right:
        return ""
    for name, size in sizes.items():
        if size > 1 and answer * size == right:
            return f"It is 1/{size} of the right number: did you count the {name} = {size}?"
        if size > 1 and right * size == answer:
            return f"It is {size} times the right number: do the {name} = {size}, count here?"
    return ""


def _output_hint(answer: ArrayLike, y: np.ndarray, run: Run, arrays: tuple) -> str:
    answer = np.asarray(answer)
    if answer.shape != y.shape:
        return f"Yours has shape {answer.shape}, the output {y.shape}."
    rtol = np.sqrt(np.finfo(y.dtype).eps)
    wrong = np.argwhere(~np.isclose(answer, y, rtol, equal_nan=True))
    if not len(wrong):
        return ""
    turned = [np.flip(array, (-2, -1)) if np.ndim(array) == 4 else array for array in arrays]
    if np.allclose(answer, run(*turned).output):
        return "You turned the kernel by 180°; deep learning does not."
    place = ", ".join(map(str, wrong[0]))
    return f"{len(wrong)} of {y.size} numbers are wrong, y[{place}] is the first of them."


def _check_loops(loops: Any, done: ConvResult, run: Run, given: tuple) -> Verdict:
    if not callable(loops):
        raise TypeError(f"answer: must be a function, got {type(loops).__name__}")
    returned = loops(*(np.array(array) for array in given))  # copies: the loops may spoil theirs
    if returned is None:
        return Verdict(None, "No answer yet: your function returns None.")
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            "answer: the function must return the output and how many multiplies it did"
        )
    y, multiplies = returned
    wrong = _output_hint(y, done.output, run, given[1:])
    if wrong:
        return Verdict(False, wrong)
    report = done.report
    if multiplies not in (report.multiplies, report.multiplies_in_bounds):
        counted = f"The output is right, but you counted {multiplies:,} multiplies"
        return Verdict(False, f"{counted}; the textbook loops do {report.multiplies:,}.")
    how = "the zeros of the padding left out" if multiplies < report.multiplies else "all counted"
    return Verdict(True, f"The output and its {multiplies:,} multiplies are right, {how}.")
