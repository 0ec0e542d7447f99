"""Exercises that check themselves: an answer meets what the loops did, and gets a hint.

A slip is told by making it: the hint names the one that gives what the learner has.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..costs.report import ConvResult, CostReport
from ..tracing import Step
from ..variants import VARIANTS
from .slips import Call, other_runs, slipped_outputs, slips_of

COUNTS = {
    "parameters": "parameters, each weight and bias once",
    "multiplies": "multiplies, on pixels and on padding",
    "multiplies_in_bounds": "multiplies in bounds, on pixels alone",
    "multiplies_on_padding": "multiplies on padding, on zeros around the image",
    "macs": "MACs, a multiply and its add each",
    "flops": "FLOPs, two for each multiply and its add",
}
WORDS = (*COUNTS, "output_shape", "output", "loops", "choice")


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
    variant: str | Callable[[Any], ConvResult | Mapping[str, Any]],
    *arrays: ArrayLike,
    **options: Any,
) -> Verdict:
    """Compare an answer with what a variant's loops do, and give a hint where it differs.

    Parameters
    ----------
    what : str
        What is asked for: a number of the report, "parameters", "multiplies",
        "multiplies_on_padding", "multiplies_in_bounds", "macs" or "flops"; "output_shape"; the
        "output" itself; "loops" of the learner's own; or a "choice" that is to reach something.
    answer : Any
        The learner's, or None while there is none. Loops take x and the arrays and return the
        output and how many multiplies they did; those on padding may be done or left out. A choice
        is what `variant` takes.
    variant : str or callable
        As in `jitconv.trace`. For a choice, a function that runs it and returns a `ConvResult`, or
        a dict of what it measured; its "hint", if it has one, is told where the choice is wrong.
    *arrays, **options
        As in `jitconv.trace`; and `method`, if other loops than the textbook's are asked about. For
        a choice, what it is to give, by name: numbers, arrays or lists of lines; `at_most` and
        `at_least` are dicts of bounds.

    Returns
    -------
    Verdict
        The last line of a cell shows it.

    Raises
    ------
    TypeError, ValueError
        As the variant's function; or if `what` is no such word. Never for an answer.

    Examples
    --------
    >>> x, weight = np.ones((2, 8, 8)), np.ones((4, 2, 3, 3))
    >>> check("multiplies", None, "standard", x, weight)
    … No answer yet: put yours in place of None.
    >>> check("multiplies", 1296, "standard", x, weight)
    ✗ Not 1,296. It is 1/2 of the right number: did you count the input channels, C = 2?
    >>> check("multiplies", 2592, "standard", x, weight)
    ✓ 2,592 multiplies: M·C·K²·OH·OW = 4·2·9·6·6 = 2,592.

    Outputs are compared with or without the axes of length 1. The hint tells where to look.

    >>> check("output", [12, 22], "standard", [[[1.0, 2, 3]]], [[[[10.0, 1]]]])
    ✗ 1 of 2 numbers is wrong, at answer[1]: the weights meet the pixels 2, 3 there.

    A choice is run, and shows what it gives.

    >>> from jitconv import conv2d
    >>> def grouped(g):
    ...     return conv2d(np.ones((4, 8, 8)), np.ones((4, 4 // g, 3, 3)), groups=g)
    >>> check("choice", 2, grouped, at_most={"parameters": 40})
    ✗ It gives 72 parameters: K²·C·M/g = 9·4·4/2. Wanted: at most 40 parameters.
    """
    if not isinstance(what, str) or what not in WORDS:
        raise ValueError(f"what: must be one of {', '.join(WORDS)}, got {what!r}")
    nothing = Verdict(None, "No answer yet: put yours in place of None.")
    if what == "choice":
        if not callable(variant):
            raise TypeError(f"variant: must be a function that runs the choice, got {variant!r}")
        return nothing if answer is None else _check_choice(answer, variant, options)
    if not isinstance(variant, str) or variant not in VARIANTS:
        raise ValueError(f"variant: must be one of {', '.join(VARIANTS)}, got {variant!r}")
    call = Call(VARIANTS[variant], arrays, {"method": "direct", **options})
    if answer is None:
        return nothing
    if what == "output":
        return _check_output(answer, call, by_hand=True)
    return _check_loops(answer, call) if what == "loops" else _check_number(what, answer, call)


def _check_number(what: str, answer: Any, call: Call) -> Verdict:
    right = getattr(call.report, what)
    answer = _plain(answer) if what == "output_shape" else _alone(answer)
    formula = _formula(what, call.report)
    if answer == right or (what == "output_shape" and answer == (1, *right)):
        return Verdict(True, f"{_counted(answer, what)}: {formula}.")
    hint = _hint(what, answer, call) or _corner(what, call)
    if not hint:
        symbols, costs = formula.split(" = ")[0], call.report.costs
        names = {"output size": "OH", "output height": "OH", "effective kernel size": "k"}
        sizes = [f"{size} = {costs[name].symbols}" for name, size in names.items() if name in costs]
        known = f", with {' and '.join(sizes)}" if "OH" in symbols else ""
        hint = f"The formula is {symbols}{known}."
    if "V_h" in hint:
        hint += " V_h and V_w are the pairs of output and tap along an axis that meet a pixel."
    shown = f"{answer:,}" if _is_number(answer) else repr(answer)
    return Verdict(False, f"Not {shown}. {hint}")


def _plain(answer: Any) -> Any:
    """Return Python's number or tuple for what NumPy takes for one, else the answer as it is."""
    with suppress(ValueError, RuntimeError):  # ragged; a tensor that learns
        answer = np.asarray(answer).tolist()
    return tuple(answer) if isinstance(answer, list) else answer


def _alone(answer: Any) -> Any:
    """Return an answer as it is, or the only number of a list."""
    answer = _plain(answer)
    return answer[0] if isinstance(answer, tuple) and len(answer) == 1 else answer


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _counted(value: Any, what: str) -> str:
    name = COUNTS.get(what, what.replace("_", " ")).split(",")[0]
    if _is_number(value) and value == 1:
        name = re.sub(r"(ie)?(?<!s)s\b", lambda end: "y" if end[1] else "", name, count=1)
    return f"{value:,} {name}" if _is_number(value) else f"{name} {value}"


def _hint(what: str, answer: Any, call: Call) -> str:
    """Tell which other number or shape the answer is."""
    for text, other in _other_numbers(what, call):
        if other == answer != 0:
            return text
    if what != "output_shape":
        return "" if _is_number(answer) else "The answer is a number."
    right = call.report.output_shape
    if not isinstance(answer, tuple) or len(answer) != len(right):
        return f"An output has {len(right)} axes; the last three are channels, height and width."
    if sorted(map(repr, answer)) == sorted(map(repr, right)):
        return "The order is channels, height, width."
    return "" if answer[:-2] == right[:-2] else "An output has a channel for each filter."


def _corner(what: str, call: Call) -> str:
    """Tell what an output in the corner meets, where that is the question."""
    if what not in ("multiplies_in_bounds", "multiplies_on_padding"):
        return ""
    met = [step.input is not None for step in _multiplies(call, [0] * call.output.ndim)]
    if all(met):
        return ""
    rest = f"{met.count(False)} of its {len(met)} multiplies are on padding"
    return f"y[0, 0, 0], in the corner, meets {sum(met)} pixels: {rest}."


def _multiplies(call: Call, place: list[int]) -> list[Step]:
    """Return those of one output; none if there are several passes, or too many to be traced."""
    if len(call.record.passes) > 1:
        return []
    with suppress(ValueError):
        return [step for step in call.steps if step.output == (0, *place)[-4:]]
    return []


def _other_numbers(what: str, call: Call) -> Iterator[tuple[str, Any]]:
    """Yield what learners take for the number that is asked for, and what to say of each."""
    report, right = call.report, getattr(call.report, what)
    runs = ((text, getattr(run.report, what)) for text, run in other_runs(call))
    if what == "output_shape":
        yield from runs
        return
    *counts, flops = [
        (f"Those are the {said}. Asked for are the {COUNTS[what]}.", getattr(report, name))
        for name, said in COUNTS.items()
        if name != "macs"
    ]
    yield from itertools.chain(counts, runs, [flops])  # twice as much may be a forgotten group
    for name, count in report.parts.items():
        yield f"That is the {name} alone.", count
    known = {"document": "the document's count, over H·W", "dense": "dense; these loops do fewer"}
    for name, formula in report.costs.items():
        yield f"That is {formula.symbols}, {known.get(name, name)}.", formula.value
    kernel = next((a.shape[-2:] for a in call.arrays[::-1] if a.ndim == 4), (1, 1))
    *images, M, OH, OW = call.output.shape
    C, N = call.arrays[0].shape[-3], math.prod(images)
    factors: dict[int, list[str]] = {}
    for name, size in {
        "the input channels, C": C,
        "the output channels, M": M,
        "the taps of the kernel, K²": math.prod(kernel),
        "the rows of the kernel, K": kernel[0],
        "the output pixels, OH·OW": OH * OW,
        "the images, N": N,
        "the channels in and out, C·M": C * M,
        **({"both FLOPs of a MAC in each image, 2·N": 2 * N} if what == "flops" else {}),
    }.items():
        factors.setdefault(size, []).append(f"{name} = {size}")
    for size, names in factors.items():
        few, many = ", or did you count ".join(names), ", or do ".join(names)
        yield f"It is 1/{size} of the right number: did you count {few}?", right / size
        yield f"It is {size} times the right number: do {many}, count here?", right * size
    dense = report.costs["dense"]
    if (
        what == "multiplies"
        and right == dense.value
        and re.fullmatch(r"[^+]*·OH·OW", dense.symbols)
    ):
        for h, w in ((OH + 1, OW + 1), (OH - 1, OW - 1)):
            places = f"That is it for {h}×{w} outputs. In how many places does the kernel fit?"
            yield places, right // (OH * OW) * h * w


def _formula(what: str, report: CostReport) -> str:
    costs = report.costs
    dense, in_bounds = costs["dense"], costs["in bounds"]
    if what == "macs":
        return f"multiplies with an add = {report.macs:,} of {report.multiplies:,}"
    if what == "flops":
        return f"2 × MACs = 2 × {report.macs:,}"
    if what == "multiplies_on_padding":
        inside = re.sub(r"(.*\+.*)", r"(\1)", in_bounds.symbols)
        return f"{dense.symbols} − {inside} = {dense.value:,} − {in_bounds.value:,}"
    if what == "multiplies":
        own = next((p.equals.split(",")[0] for p in report.passes if not p.by_definition), "dense")
        return str(costs[own] if report.multiplies == costs[own].value else in_bounds)
    if what == "parameters" and "bias" in costs:
        weights, bias = costs["parameters"], costs["bias"]
        numbers = f"{weights.substituted} + {bias.substituted} = {report.parameters:,}"
        return f"{weights.symbols} + {bias.symbols} = {numbers}"
    if what == "output_shape":  # one formula for both axes, or one for each
        return ", ".join(str(f) for name, f in costs.items() if name.startswith("output"))
    return str(costs["in bounds" if what == "multiplies_in_bounds" else what])


def _check_output(answer: Any, call: Call, by_hand: bool = False) -> Verdict:
    y, array = call.output, _fitted(answer, call.output)
    wrong = _difference("y", answer, y)
    if not wrong:
        return Verdict(True, f"All {y.size} numbers are right.")
    if by_hand:
        wrong = _where(answer, call)
    if array is None:
        return Verdict(False, wrong)
    for text, output in slipped_outputs(call):
        if array.shape == y.shape != output.shape and y.shape[:-2] == output.shape[:-2]:
            whole, output = output, np.zeros(y.shape)  # as far as loops of the right size get
            h, w = np.minimum(whole.shape, y.shape)[-2:]
            output[..., :h, :w] = whole[..., :h, :w]
        if output.any() and not _difference("y", array, output):
            return Verdict(False, f"{wrong} {text}")
    return Verdict(False, wrong)


def _where(answer: Any, call: Call) -> str:
    """Tell where an output by hand is wrong, but not what it should be."""
    y, array = call.output, _fitted(answer, call.output)
    if array is None:
        return f"The answer is an array of {_sizes(y)} numbers."
    if array.shape != y.shape:
        has = f"Your answer has {_sizes(array)} number{'s' * (array.size != 1)}"
        fits = f": the kernel fits in {y.shape[-2]}×{y.shape[-1]} places"
        return f"{has}, the output has {_sizes(y)}{fits * (call.record.name != 'transposed')}."
    wrong = _unlike(array, y)
    first = np.unravel_index(np.ravel_multi_index(tuple(wrong[0]), y.shape), np.shape(answer))
    place = "answer" + "".join(f"[{i}]" for i in first)
    are, at = ("is", "at") if len(wrong) == 1 else ("are", "the first at")
    said = f"{len(wrong)} of {y.size} numbers {are} wrong, {at} {place}"
    pixels = [f"{step.value:g}" for step in _multiplies(call, wrong[0].tolist())]
    if 1 < len(pixels) < 10:
        said += f": the weights meet the pixels {', '.join(pixels)} there"
    return f"{said}."


def _sizes(array: np.ndarray) -> str:
    sizes = itertools.dropwhile(lambda size: size == 1, array.shape)
    return "×".join(map(str, sizes)) or "1"


def _fitted(answer: Any, y: np.ndarray) -> np.ndarray | None:
    """Return an array, in y's shape where axes of length 1 alone differ; None if it is none."""
    try:
        array = np.asarray(answer)
        if np.iscomplexobj(array) or np.ma.isMaskedArray(answer):
            return None
        array = array if array.dtype == np.float32 else array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return array.reshape(y.shape) if np.squeeze(array).shape == np.squeeze(y).shape else array


def _difference(name: str, got: Any, wanted: ArrayLike) -> str:
    """Tell the first place where two arrays or lists of lines differ; nothing if they agree."""
    if isinstance(wanted, list) and isinstance(wanted[0], str):
        pairs = enumerate(itertools.zip_longest(map(str, got), wanted, fillvalue="missing"))
        unlike = (f"{name}[{i}] is {a}, it should be {b}." for i, (a, b) in pairs if a != b)
        return next(unlike, "")
    y = np.asarray(wanted, np.result_type(np.asarray(wanted), np.float32))
    array = _fitted(got, y)
    if array is None:
        return f"{name} is no array of numbers; it should have shape {y.shape}."
    if array.shape != y.shape:
        return f"{name} has shape {array.shape}, it should have {y.shape}."
    wrong = _unlike(array, y)
    if not len(wrong):
        return ""
    place, are = tuple(wrong[0].tolist()), "is" if len(wrong) == 1 else "are"
    first = f"{name}{list(place)} is {array[place]:.8g}, it should be {y[place]:.8g}."
    return f"{len(wrong)} of {y.size} numbers {are} wrong: {first}"


def _unlike(array: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the places where two arrays differ by more than the coarser one's rounding."""
    eps = max(np.finfo(array.dtype).eps, np.finfo(y.dtype).eps)
    atol = 256 * eps * np.abs(y[np.isfinite(y)]).max(initial=0)  # of sums that nearly cancel
    return np.argwhere(~np.isclose(array, y, np.sqrt(eps), atol, equal_nan=True))


def _check_loops(loops: Any, call: Call) -> Verdict:
    if not callable(loops):
        return Verdict(False, "Give the function itself, without calling it.")
    try:
        returned = loops(*map(np.array, call.arrays))  # copies: the loops may spoil theirs
    except Exception as error:
        code = getattr(getattr(loops, "py_func", loops), "__code__", check.__code__)
        frames = traceback.extract_tb(error.__traceback__)[1:]  # the first one is of this file
        own = [frame for frame in frames if frame.filename == code.co_filename]
        where = f" in line {own[-1].lineno}, {own[-1].line}".rstrip(", ") if own else ""
        return Verdict(False, f"Your function stopped{where}: {_told(error)}.")
    if returned is None:
        return Verdict(None, "No answer yet: your function returns None.")
    y, multiplies, report = returned, None, call.report
    if isinstance(returned, (tuple, list)) and len(returned) == 2:
        first, second = returned
        if isinstance(returned, tuple) or _is_number(_plain(second)):  # else two rows
            y, multiplies = first, _alone(second)
        swapped = _fitted(second, call.output) if _is_number(_alone(first)) else None
        if swapped is not None and swapped.shape == call.output.shape:
            return Verdict(False, "Return the output first, and after it the multiplies.")
    verdict = _check_output(y, call)
    if not verdict:
        return verdict
    if not _is_number(multiplies):
        return Verdict(False, "The output is right. Return how many multiplies you did as well.")
    if multiplies not in (report.multiplies, report.multiplies_in_bounds):
        counted = f"The output is right, but you counted {multiplies:,} multiplies; the textbook"
        hint = _hint("multiplies", multiplies, call)
        return Verdict(False, f"{counted} loops do {report.multiplies:,}. {hint}".rstrip())
    how = "the zeros of the padding left out" if multiplies < report.multiplies else "all counted"
    return Verdict(True, f"The output and its {multiplies:,} multiplies are right, {how}.")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:2])}".rstrip(".: ")


def _check_choice(choice: Any, run: Callable[[Any], Any], wanted: dict[str, Any]) -> Verdict:
    if isinstance(choice, float) and choice.is_integer():
        choice = int(choice)
    verdict = _tried(choice, run, **wanted)
    with suppress(ValueError):  # it may be no array
        if not verdict and "output" in wanted and np.ndim(choice) > 1:  # is it a turned kernel?
            axes = "M, " * (np.ndim(choice) - 2) + "KH, KW"
            for text, turned in itertools.islice(slips_of("weight", axes, np.asarray(choice)), 2):
                if _tried(turned, run, **wanted):
                    return Verdict(False, f"{verdict.text} {text}")
    return verdict


def _tried(
    choice: Any, run: Callable[[Any], Any], at_most: Any = None, at_least: Any = None, **equal: Any
) -> Verdict:
    """Run a choice, and compare what it gives with what is wanted."""
    try:
        made = run(choice)
    except Exception as error:
        return Verdict(False, f"That does not run: {_told(error)}.")
    gives, wants, unlike = [], [], []
    for words, meets, bounds in (
        ("", operator.eq, equal),
        ("at most ", operator.le, at_most or {}),
        ("at least ", operator.ge, at_least or {}),
    ):
        for name, bound in bounds.items():
            value, formula = _measured(made, name)
            if isinstance(bound, (list, np.ndarray)):
                unlike.append(_difference(name, value, bound))
            else:
                gives.append(_counted(_plain(value), name) + formula)
                wants += [] if meets(_plain(value), bound) else [words + _counted(bound, name)]
    said = [f"It gives {', '.join(gives)}."] if gives else []
    said += [f"Wanted: {', '.join(wants)}."] if wants else []
    said += filter(None, unlike)
    right = not wants and not any(unlike)
    if not right and isinstance(made, Mapping) and made.get("hint"):
        said.append(made["hint"])
    return Verdict(right, " ".join(said) or "It gives what is wanted.")


def _measured(made: Any, name: str) -> tuple[Any, str]:
    """Return what a run gave, by its name, and the formula with its numbers where there is one."""
    if not isinstance(made, ConvResult):
        return made[name], ""
    if name == "output":
        return made.output, ""
    return getattr(made.report, name), f": {_formula(name, made.report).rpartition(' = ')[0]}"
