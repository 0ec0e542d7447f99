"""Stepping through a small convolution: the window, the kernel, the products and their sum."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import animation
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from .. import shapes
from ..tracing import VARIANTS, Place, Step, trace
from ..variants.depthwise import depthwise_conv2d
from .style import GROUPS, INK, OUTPUT, SAMPLE


class Html(str):
    """A page that a notebook shows."""

    def _repr_html_(self) -> str:
        return self


class Stage(NamedTuple):
    """One pass over one input: all but separable and depthwise separable have one."""

    name: str
    x: np.ndarray  # (N, C, H, W)
    weight: np.ndarray
    y: np.ndarray  # (N, M, OH, OW)
    steps: list[Step]
    walk: tuple[shapes.Pair, shapes.Pair, shapes.Pair] | None = None  # stride, dilation, padding
    points: dict[Place, list[tuple[float, float]]] | None = None  # output: where it takes samples
    corners: dict[Place, dict[Place, float]] | None = None  # output: pixels' share in its samples


class Frame(NamedTuple):
    """What one picture shows: some steps towards one output, and the outputs before it."""

    stage: Stage
    output: tuple[int, ...]
    steps: list[Step]
    done: dict[tuple[int, ...], float]


def show_steps(
    variant: str,
    x: ArrayLike,
    *arrays: ArrayLike,
    by: str = "output",
    backend: str = "grid",
    frames: int = 60,
    **options: Any,
) -> Figure | Html | bytes:
    """Draw a small convolution step by step.

    Left the image with the window marked, in the middle the kernel, right the output as it fills
    up, and below the sum with its numbers, as the kernel's own loops did it.

    Parameters
    ----------
    variant, x, arrays, options
        As in `jitconv.trace`.
    by : {"output", "multiply"}
        A picture for each output, or for each multiply in the order of the loops.
    backend : {"grid", "jshtml", "gif"}
        All pictures on one sheet, a page with a scrubber, or an animation's bytes.
    frames : int
        The most pictures to draw.

    Returns
    -------
    matplotlib.figure.Figure, Html or bytes
        By the backend.

    Raises
    ------
    TypeError, ValueError
        As `trace`; or if `by` or `backend` is no such word, or there are more pictures than
        `frames`: none is left out silently.

    Examples
    --------
    >>> figure = show_steps("standard", np.ones((1, 3, 3)), np.ones((1, 1, 2, 2)))
    >>> len(figure.axes)
    4
    """
    if by not in ("output", "multiply"):
        raise ValueError(f"by: must be 'output' or 'multiply', got {by!r}")
    if backend not in ("grid", "jshtml", "gif"):
        raise ValueError(f"backend: must be 'grid', 'jshtml' or 'gif', got {backend!r}")
    stages = list(_stages(variant, x, arrays, options))
    shown = [frame for stage in stages for frame in _frames(stage, by)]
    if not 0 < len(shown) <= frames:
        raise ValueError(
            f"frames: this makes {len(shown)} pictures, one for each {by}, and 1 to {frames} are "
            f"allowed; take a smaller image, or pass frames={len(shown)}"
        )
    width = max(_layout(stage)[-1] for stage in stages)
    height = max(_height(stage) for stage in stages)
    if backend == "grid":
        columns = min(len(shown), max(1, round(36 / width)))
        if columns > 2 and len(shown) == (columns - 1) * 2:
            columns -= 1  # two full rows
        rows = math.ceil(len(shown) / columns)
        size = (9, 9 / columns * height / width * rows + 0.2)
        figure, panels = plt.subplots(
            rows, columns, figsize=size, squeeze=False, dpi=100, layout="constrained"
        )
        plt.close(figure)
        for ax in list(panels.flat)[len(shown) :]:
            ax.remove()
        for frame, ax in zip(shown, panels.flat, strict=False):
            _draw(ax, variant, frame, (width, height), 9 * 72 / columns / width)
        return figure
    figure, ax = plt.subplots(figsize=(7, 7 * height / width), dpi=80, layout="constrained")
    plt.close(figure)

    def update(number: int) -> list:
        ax.clear()
        _draw(ax, variant, shown[number], (width, height), 7 * 72 / width)
        return []

    movie = animation.FuncAnimation(figure, update, frames=len(shown), interval=700)
    if backend == "jshtml":
        with mpl.rc_context({"animation.embed_limit": 1000}):  # MB: no picture is dropped
            return Html(movie.to_jshtml(default_mode="once"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps.gif"
        movie.save(path, writer="pillow")
        return path.read_bytes()


def _stages(variant: str, x: ArrayLike, arrays: tuple, options: dict) -> Iterator[Stage]:
    steps = trace(variant, x, *arrays, **options)

    def batch(array: ArrayLike) -> np.ndarray:
        array = np.asarray(array, float)
        return array if array.ndim == 4 else array[np.newaxis]

    def run(*given: ArrayLike) -> np.ndarray:
        return batch(VARIANTS[variant](*given, **options).output)

    images, weights = batch(x), [np.asarray(array, float) for array in arrays if array is not None]
    y = run(x, *arrays)
    geometry = {k: v for k, v in options.items() if k in ("stride", "padding", "dilation")}
    walk = None
    if variant == "separable":
        kernel = (weights[0].size, weights[1].size)
    else:
        kernel = _taps(weights[variant == "deformable"])
    if variant not in ("transposed", "pointwise"):
        window = shapes.window(images.shape[2:], kernel, **geometry)
        walk = window.stride, window.dilation, (window.padding[0][0], window.padding[1][0])

    if variant == "separable":
        (N, C, OH, _), W = y.shape, images.shape[3]
        (SH, SW), (DH, DW), (top, left) = walk

        def middle(place: Place) -> Place:  # (job, place in the padded line)
            n, c, oh = np.unravel_index(place[0], (N, C, OH))
            inside = 0 <= place[1] - left < W
            return (int(n), int(c), int(oh), place[1] - left) if inside else None

        first = [s._replace(output=middle(s.output)) for s in steps if s.part == "column pass"]
        second = [s._replace(input=middle(s.input)) for s in steps if s.part == "row pass"]
        lines = np.zeros((N, C, OH, W))
        for step in first:
            lines[step.output] = step.sum
        walks = ((SH, 1), (DH, 1), (top, 0)), ((1, SW), (1, DW), (0, left))
        yield Stage("column pass", images, weights[0][:, np.newaxis], lines, first, walks[0])
        yield Stage("row pass", lines, weights[1][np.newaxis], y, second, walks[1])
    elif variant == "depthwise separable":
        lines = batch(depthwise_conv2d(x, arrays[0], **geometry).output)
        first = [step for step in steps if step.part == "depthwise"]
        second = [step for step in steps if step.part == "pointwise"]
        yield Stage("depthwise", images, weights[0], lines, first, walk)
        yield Stage("pointwise", lines, weights[1], y, second)
    elif variant == "deformable":
        (stride, dilation, before), offset = walk, batch(arrays[0])
        points: dict[Place, list[tuple[float, float]]] = {}
        corners: dict[Place, dict[Place, float]] = {}
        for n, m, oh, ow in np.ndindex(y.shape):
            points[n, m, oh, ow] = [
                tuple(
                    float((oh, ow)[axis] * stride[axis] - before[axis])
                    + divmod(tap, kernel[1])[axis] * dilation[axis]
                    + float(offset[n, 2 * tap + axis, oh, ow])
                    for axis in (0, 1)
                )
                for tap in range(kernel[0] * kernel[1])
            ]
        for step in steps:
            if step.part == "corner values" and step.input is not None:
                (n, oh), ow = divmod(step.output[0], y.shape[2]), step.output[1]
                for m in range(y.shape[1]):
                    shares = corners.setdefault((n, m, oh, ow), {})
                    shares[step.input[1:]] = shares.get(step.input[1:], 0) + step.factor
        kept = [step for step in steps if step.part == "kernel"]
        yield Stage("kernel", images, weights[1], y, kept, None, points, corners)
    else:
        yield Stage("kernel", images, weights[0], y, steps, walk)


def _frames(stage: Stage, by: str) -> Iterator[Frame]:
    done: dict[tuple[int, ...], float] = {}
    if by == "multiply":
        for step in stage.steps:
            done = {**done, step.output: step.sum}
            yield Frame(stage, step.output, [step], done)
        return
    grouped: dict[tuple[int, ...], list[Step]] = {}
    for step in stage.steps:
        grouped.setdefault(step.output, []).append(step)
    for output, steps in sorted(grouped.items()):
        done = {**done, output: steps[-1].sum}
        yield Frame(stage, output, steps, done)


def _ring(stage: Stage) -> tuple[int, int, int, int]:
    """Return how many padded pixels lie above, below, left and right."""
    if stage.points:  # samples up to one pixel outside still count
        return 1, 1, 1, 1
    if stage.walk is None:
        return 0, 0, 0, 0
    ends = []
    for axis, (stride, dilation, before) in enumerate(zip(*stage.walk, strict=True)):
        taps, outputs, size = _taps(stage.weight)[axis], stage.y.shape[2:][axis], stage.x.shape[2:]
        last = (outputs - 1) * stride + (taps - 1) * dilation - before
        ends += [before, max(0, last + 1 - size[axis])]
    return tuple(ends)


def _layout(stage: Stage) -> tuple[float, float, float]:
    """Return where the kernel and the output begin, and the whole width, in cells."""
    (_, _, left, right), W = _ring(stage), stage.x.shape[3]
    KW, OW = _taps(stage.weight)[1], stage.y.shape[3]
    kernel_at = left + W + right + 0.9
    return kernel_at, kernel_at + KW + 0.9, kernel_at + KW + OW + 1.9


def _block(stage: Stage) -> float:
    """Return the height of an input channel with its padding, or of its kernel, and a gap."""
    above, below, _, _ = _ring(stage)
    return max(above + stage.x.shape[2] + below, _taps(stage.weight)[0]) + 0.6


def _height(stage: Stage) -> float:
    (_, M, OH, _), lines = stage.y.shape, stage.weight[0].size // 4 + 1
    return max(stage.x.shape[1] * _block(stage), M * (OH + 0.6)) + 1 + 0.45 * min(6, lines + 1)


def _taps(weight: np.ndarray) -> tuple[int, int]:
    return (1, 1) if weight.ndim == 2 and 1 not in weight.shape else weight.shape[-2:]


def _channel(variant: str, stage: Stage, step: Step) -> tuple[int, int]:
    """Return the input channel of a step, also where it meets padding, and its group."""
    C, M, m = stage.x.shape[1], stage.y.shape[1], step.output[1]
    if variant == "transposed":
        c = step.weight[0]
        return c, m // stage.weight.shape[1]
    if stage.name in ("column pass", "row pass"):
        return m, 0
    if variant == "depthwise" or stage.name == "depthwise":
        return m * C // M, m * C // M
    groups = C // stage.weight.shape[1]
    group = m // (M // groups)
    return group * (C // groups) + step.weight[1], group


def _draw(ax: Axes, variant: str, frame: Frame, size: tuple[float, float], points: float) -> None:
    stage, output, steps = frame.stage, frame.output, frame.steps
    (_, C, H, W), (_, M, OH, OW), (KH, KW) = stage.x.shape, stage.y.shape, _taps(stage.weight)
    kernel_at, output_at, _ = _layout(stage)
    small = {"fontsize": max(4, min(9, points * 0.33)), "ha": "center", "va": "center"}
    n = output[0]

    def cell(row, column, value, face="white", style="-"):
        box = {"facecolor": face, "edgecolor": "#999999", "linewidth": 0.6, "linestyle": style}
        ax.add_patch(Rectangle((column, row), 1, 1, zorder=1 + (style == "-"), **box))
        if value is not None:
            ax.text(column + 0.5, row + 0.5, _short(value), zorder=3, color=INK, **small)

    above, _, left, _ = _ring(stage)
    met, kernels = {}, {}
    for step in steps:
        c, group = _channel(variant, stage, step)
        colour = GROUPS[group % len(GROUPS)]
        taps = (*step.weight[-2:],) if len(step.weight) == 4 else (0, 0)
        if stage.name == "column pass":
            taps = (step.weight[0], 0)
        elif stage.name == "row pass":
            taps = (0, step.weight[0])
        if step.input is not None and len(step.input) == 4:
            met[step.input[1:]] = colour
        elif stage.walk is not None:  # on the padding: where the walk of the window puts it
            (SH, SW), (DH, DW), (before, beside) = stage.walk
            h, w = output[2] * SH + taps[0] * DH - before, output[3] * SW + taps[1] * DW - beside
            met[c, h, w] = colour
        held = stage.weight[step.weight[:2]] if len(step.weight) == 4 else stage.weight
        kernels.setdefault(c, (held, {}))[1][taps] = step.factor, colour
    if stage.corners:
        shares = stage.corners.get(output, {})
        met = {place: f"{GROUPS[0]}{round(255 * min(1, s)):02x}" for place, s in shares.items()}
    for c in range(C):
        top = c * _block(stage) + above
        for h in range(H):
            for w in range(W):
                cell(top + h, left + w, stage.x[n, c, h, w], met.pop((c, h, w), "white"))
        if c in kernels:
            held, used = kernels[c]
            for kh in range(KH):
                for kw in range(KW):
                    shown = used.get((kh, kw)) or (held[kh, kw], "white")
                    cell(top - above + kh, kernel_at + kw, *shown)
            if stage.points:
                where = np.array(stage.points[output])
                where = where[((where > -1) & (where < (H, W))).all(axis=1)]
                style = {"color": SAMPLE, "markersize": points * 0.3, "zorder": 5}
                ax.plot(left + where[:, 1] + 0.5, top + where[:, 0] + 0.5, "+", **style)
    for (c, h, w), colour in met.items():
        cell(c * _block(stage) + above + h, left + w, 0, colour + "66", ":")
    for m in range(M):
        top = m * (OH + 0.6)
        for oh in range(OH):
            for ow in range(OW):
                here = (n, m, oh, ow)
                cell(
                    top + oh,
                    output_at + ow,
                    frame.done.get(here),
                    OUTPUT + "66" if here == output else "white",
                )
    bottom = max(C * _block(stage), M * (OH + 0.6))
    titles = (
        ("input", left + W / 2),
        ("kernel", kernel_at + KW / 2),
        ("output", output_at + OW / 2),
    )
    for word, place in titles:
        ax.text(place, -0.25, word, ha="center", va="bottom", fontsize=small["fontsize"], color=INK)
    style = {"ha": "left", "va": "top", "fontsize": small["fontsize"], "color": INK, "wrap": True}
    name = "" if stage.name == "kernel" else f"{stage.name}, "
    ax.text(0, bottom, name + _sum(output, steps, int(size[0] * 3.3)), **style)
    ax.set_xlim(-0.1, size[0])
    ax.set_ylim(size[1] - 0.6, -1)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _sum(output: tuple[int, ...], steps: list[Step], width: int) -> str:
    """Write the sum out with its numbers, in lines of so many letters."""
    place = ", ".join(map(str, output[1:]))
    before = steps[0].sum - steps[0].value * steps[0].factor
    words = [f"y[{place}] ="] + ([f"{before:.3g} +"] if abs(before) > 1e-9 else [])
    products = [f"{_signed(step.value)}·{_signed(step.factor)}" for step in steps]
    words += [product + " +" for product in products[:-1]] + [
        products[-1],
        f"= {steps[-1].sum:.3g}",
    ]
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(lines)


def _short(number: float) -> str:
    text = f"{number:.3g}"
    return text if len(text) < 6 else f"{number:.1g}"


def _signed(number: float) -> str:
    return f"({number:.3g})" if number < 0 else f"{number:.3g}"
