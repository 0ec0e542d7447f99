"""A small convolution step by step: on a page that plays, or as pictures."""

from __future__ import annotations

import inspect
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import animation
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from ..tracing import TRACED, Place, Step, trace
from ..variants import VARIANTS
from .html import Html
from .stepper import looks, stepper, window_of
from .style import INK, INPUT, KERNEL, OUTPUT, PADDING, SAMPLE, kept, short, styled


class Stage(NamedTuple):
    """One pass over one image: from x to y by the steps of a kernel."""

    name: str
    titles: tuple[str, str, str]  # of what is read, what walks over it, and what comes out
    x: np.ndarray  # (N, C, H, W)
    weight: np.ndarray
    letters: list[str]  # of the weight's axes, as its formula writes them
    y: np.ndarray  # (N, M, OH, OW)
    steps: list[Step]
    points: dict[Place, np.ndarray]  # output: where it takes samples (groups, taps, 2)
    corners: dict[Place, dict[Place, float]]  # output: pixels' share in its samples

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of a kernel."""
        sizes = dict(zip(self.letters, self.weight.shape, strict=True))
        return sizes.get("KH", 1), sizes.get("KW", 1)

    def tap(self, step: Step) -> tuple[int, int]:
        """Return the row and column of the kernel that a step multiplies by."""
        index = dict(zip(self.letters, step.weight or (), strict=False))
        return index.get("KH", 0), index.get("KW", 0)

    def held(self, step: Step) -> np.ndarray:
        """Return the kernel (KH, KW) that it belongs to."""
        axes = zip(self.letters, step.weight or (), strict=True)
        index = tuple(slice(None) if letter in ("KH", "KW") else i for letter, i in axes)
        return self.weight[index].reshape(self.kernel)

    def channel(self, step: Step) -> int:
        """Return the input channel that it reads, also on the padding."""
        if step.around is not None and len(step.around) == 4:
            return step.around[1]
        (C, M), CG = (self.x.shape[1], self.y.shape[1]), self.weight.shape[1]  # of a sample
        return step.output[1] * (C // CG) // M * CG + (step.weight or (0, 0))[1]

    def ring(self) -> tuple[int, int, int, int]:
        """Return how many padded pixels lie above, below, left and right."""
        if self.points:  # samples up to one pixel outside still count
            return 1, 1, 1, 1
        places = np.array([step.around[2:] for step in self.steps if step.around])
        (top, left), (H, W) = places.min(axis=0), self.x.shape[2:]
        bottom, right = places.max(axis=0)
        return max(0, -top), max(0, bottom + 1 - H), max(0, -left), max(0, right + 1 - W)


class Frame(NamedTuple):
    """What one picture shows: some steps towards one output, and the outputs before it."""

    stage: Stage
    output: tuple[int, ...]
    steps: list[Step]
    done: dict[tuple[int, ...], float]


class Size(NamedTuple):
    """How large the pictures are, in cells, and a cell in points."""

    width: float
    height: float
    cell: float

    def font(self, letters: int = 1) -> float:
        """Return the points of a text that a cell holds."""
        return min(9, self.cell * 0.33, self.cell * 1.3 / letters)


@styled
def show_steps(
    variant: str,
    x: ArrayLike,
    *arrays: ArrayLike,
    by: str = "output",
    backend: str = "html",
    ask: bool = False,
    frames: int = 60,
    **options: Any,
) -> Html | Figure | bytes:
    """Show a small convolution step by step, as the kernel's own loops do it.

    The image with the window, the kernel, the output as it fills up, and the sum with its numbers;
    on a page also the loops, with the line that runs and their variables, and counters that meet
    the formulas at the last step.

    Parameters
    ----------
    variant, x, arrays, options
        As in `jitconv.trace`. On a page ``"standard", x, weight, method="winograd"`` shows one tile
        of Winograd's method, x (1, 6, 6) and weight (1, 1, 3, 3), with its transforms.
    by : {"output", "multiply"}
        Window by window, or in the order of the loops. On a page that is where it begins; else a
        picture for each output, or for each multiply.
    backend : {"html", "grid", "gif"}
        A page that plays, to step through and to point at; all pictures on one sheet; or an
        animation's bytes. In pictures, cells too small for their numbers are empty.
    ask : bool
        Whether the page lets one predict the next number or place before it is shown.
    frames : int
        The most pictures to draw.

    Returns
    -------
    Html, matplotlib.figure.Figure or bytes
        By the backend. The page is one piece that loads nothing: a notebook shows it, and a
        file can hold it.

    Raises
    ------
    TypeError, ValueError
        As `trace`; if `by` or `backend` is no such word; a page would have more than 5,000
        multiplies, or there would be more pictures than `frames`: none is left out silently; or,
        in a picture, an output sums over several images, as a weight's gradient.

    Examples
    --------
    >>> show_steps("standard", np.ones((1, 3, 3)), np.ones((1, 1, 2, 2)))  # doctest: +ELLIPSIS
    <HTML of ... characters>
    >>> figure = show_steps("standard", np.ones((1, 3, 3)), np.ones((1, 1, 2, 2)), backend="grid")
    >>> len(figure.axes)
    4
    """
    if by not in ("output", "multiply"):
        raise ValueError(f"by: must be 'output' or 'multiply', got {by!r}")
    if backend not in ("html", "grid", "gif"):
        raise ValueError(f"backend: must be 'html', 'grid' or 'gif', got {backend!r}")
    if backend == "html":
        return stepper(variant, x, *arrays, by=by, ask=ask, **options)
    stages = list(_stages(variant, x, arrays, options))
    shown = [frame for stage in stages for frame in _frames(stage, by)]
    if not 0 < len(shown) <= frames:
        raise ValueError(
            f"frames: this makes {len(shown)} pictures, one for each {by}, and 1 to {frames} are "
            f"allowed; take a smaller image, or pass frames={len(shown)}"
        )
    width = max(_layout(stage)[-1] for stage in stages)
    height = max(_height(stage) for stage in stages)
    numbers = [number for stage in stages for number in (*stage.x.flat, *stage.weight.flat)]
    numbers += [number for frame in shown for number in frame.done.values()]
    longest = max(len(_fitted(number)) for number in numbers)
    if backend == "grid":
        columns = min(len(shown), max(1, round(36 / width)))
        if columns > 2 and longest > 5:
            columns -= 1  # wider cells
        if columns > 2 and len(shown) == (columns - 1) * 2:
            columns -= 1  # two full rows
        rows = math.ceil(len(shown) / columns)
        size = (9, 9 / columns * height / width * rows + 0.2)
        figure, panels = plt.subplots(
            rows, columns, figsize=size, squeeze=False, dpi=100, layout="constrained"
        )
        kept(figure)
        for ax in list(panels.flat)[len(shown) :]:
            ax.remove()
        for frame, ax in zip(shown, panels.flat, strict=False):
            _draw(ax, frame, Size(width, height, 9 * 72 / columns / width), longest)
        return figure
    figure, ax = plt.subplots(figsize=(7, 7 * height / width), dpi=80, layout="constrained")
    kept(figure)

    def update(number: int) -> list:
        ax.clear()
        _draw(ax, shown[number], Size(width, height, 7 * 72 / width), longest)
        return []

    movie = animation.FuncAnimation(figure, update, frames=len(shown), interval=700)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps.gif"
        movie.save(path, writer="pillow")
        return path.read_bytes()


def _stages(variant: str, x: ArrayLike, arrays: tuple, options: dict) -> Iterator[Stage]:
    steps = trace(variant, x, *arrays, **options)  # which refuses what is no variant
    record = TRACED[variant]
    call = inspect.signature(record.function).bind(x, *arrays, **options)
    given = {
        name: np.asarray(array, float)
        for name, array in call.arguments.items()
        if name in record.arrays and array is not None
    }
    y = np.asarray(record.function(x, *arrays, **options))
    (source,) = (name for name, array in record.arrays.items() if array.role == "image")
    image, last = _batch(given[source]), max((step.stage for step in steps), default=0)
    for stage in range(last + 1):
        mine = [step for step in steps if step.stage == stage and len(step.output) == 4]
        if not mine:
            return
        name = mine[0].part
        weight = given[record.passes[name]]
        weight = weight[np.newaxis] if weight.ndim == 3 else weight  # dy of one image
        letters = record.arrays[record.passes[name]].shape.split(", ")[: weight.ndim]
        made = _batch(y)
        if stage < last:
            made = np.zeros(1 + np.max([step.output for step in mine], axis=0))
            for step in mine:
                made[step.output] = step.sum
        points: dict[Place, np.ndarray] = {}
        corners: dict[Place, dict[Place, float]] = {}
        positions = [given[n] for n, array in record.arrays.items() if array.role == "positions"]
        if positions:
            points = _points(image, _batch(positions[0]), weight, made.shape, options)
            corners = _corners(steps, made.shape)
        titles = "input", "kernel", "output"
        if variant not in VARIANTS:
            titles = source, record.passes[name], mine[0].target.partition("[")[0]
        yield Stage(name, titles, image, weight, letters, made, mine, points, corners)
        image = made


def _batch(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 4 else array[np.newaxis]


def _points(
    x: np.ndarray, offset: np.ndarray, weight: np.ndarray, output: tuple[int, ...], options: dict
) -> dict[Place, np.ndarray]:
    """Return where each output takes its samples, by the offsets of each group."""
    window, taps = window_of(x, weight, options), range(offset.shape[1] // 2)
    return {
        (n, m, *place): np.reshape(
            [looks(offset, window, (n, *place), tap) for tap in taps], (-1, weight[0, 0].size, 2)
        )
        for n, m, *place in np.ndindex(output)
    }


def _corners(steps: list[Step], output: tuple[int, ...]) -> dict[Place, dict[Place, float]]:
    """Return the share of each pixel in the samples of each output."""
    corners: dict[Place, dict[Place, float]] = {}
    _, M, OH, _ = output
    for step in steps:
        if len(step.output) < 4 and step.input is not None and len(step.input) == 4:
            (n, oh), ow = divmod(step.output[0], OH), step.output[-1]
            for m in range(M):
                shares = corners.setdefault((n, m, oh, ow), {})
                shares[step.input[1:]] = shares.get(step.input[1:], 0) + step.factor
    return corners


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
        if len({step.around[0] for step in steps if step.around}) > 1:
            raise ValueError(
                f"by: {steps[0].target} sums over all images, and a picture shows one of them; "
                "take a single image, or by='multiply'"
            )
        done = {**done, output: steps[-1].sum}
        yield Frame(stage, output, steps, done)


def _layout(stage: Stage) -> tuple[float, float, float]:
    """Return where the kernel and the output begin, and the whole width, in cells."""
    (_, _, left, right), W = stage.ring(), stage.x.shape[3]
    KW, OW = stage.kernel[1], stage.y.shape[3]
    kernel_at = left + W + right + 0.9
    return kernel_at, kernel_at + KW + 0.9, kernel_at + KW + OW + 1.9


def _block(stage: Stage) -> float:
    """Return the height of an input channel with its padding, or of its kernel, and a gap."""
    above, below, _, _ = stage.ring()
    return max(above + stage.x.shape[2] + below, stage.kernel[0]) + 0.6


def _height(stage: Stage) -> float:
    (_, M, OH, _), lines = stage.y.shape, stage.weight[0].size // 4 + 1
    return max(stage.x.shape[1] * _block(stage), M * (OH + 0.6)) + 1 + 0.45 * min(6, lines + 1)


def _draw(ax: Axes, frame: Frame, size: Size, longest: int) -> None:
    stage, output, steps = frame.stage, frame.output, frame.steps
    (_, C, H, W), (_, M, OH, OW), (KH, KW) = stage.x.shape, stage.y.shape, stage.kernel
    kernel_at, output_at, _ = _layout(stage)
    inside = {"ha": "center", "va": "center", "color": INK}
    written, around = size.font(longest) > 3.8, max(4, size.font())
    images = [step.around[0] for step in steps if step.around and len(step.around) == 4]
    n = images[0] if images else output[0]

    def cell(row, column, value, face="white", style="-"):
        box = {"facecolor": face, "edgecolor": "#999999", "linewidth": 0.6, "linestyle": style}
        ax.add_patch(Rectangle((column, row), 1, 1, zorder=1 + (style == "-"), **box))
        if value is not None and written:
            text = _fitted(value)
            font = size.font(len(text))
            ax.text(column + 0.5, row + 0.5, text, zorder=3, fontsize=font, **inside)

    above, _, left, _ = stage.ring()
    met: dict[Place, str] = {}
    kernels: dict[int, tuple[np.ndarray, dict]] = {}
    for step in steps:
        c = stage.channel(step)
        if step.around is not None and len(step.around) == 4:
            met[step.around[1:]] = f"{INPUT}55"
        used = kernels.setdefault(c, (stage.held(step), {}))[1]
        used[stage.tap(step)] = step.factor, f"{KERNEL}66"
    if stage.corners:
        shares = stage.corners.get(output, {})
        met = {place: f"{INPUT}{round(150 * min(1, s)):02x}" for place, s in shares.items()}
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
                groups = stage.points[output]
                where = groups[c * len(groups) // C]
                where = where[((where > -1) & (where < (H, W))).all(axis=1)]
                rows, columns = top + where[:, 0] + 0.5, left + where[:, 1] + 0.5
                ax.plot(columns, rows, "+", color=SAMPLE, markersize=size.cell * 0.3, zorder=5)
    for beyond in met:
        c, h, w = beyond or (0, 0, 0)
        cell(c * _block(stage) + above + h, left + w, 0, f"{PADDING}55", ":")
    for m in range(M):
        top = m * (OH + 0.6)
        for oh in range(OH):
            for ow in range(OW):
                here = (output[0], m, oh, ow)
                cell(
                    top + oh,
                    output_at + ow,
                    frame.done.get(here),
                    OUTPUT + "66" if here == output else "white",
                )
    bottom = max(C * _block(stage), M * (OH + 0.6))
    middles = left + W / 2, kernel_at + KW / 2, output_at + OW / 2
    for word, place in zip(stage.titles, middles, strict=True):
        ax.text(place, -0.25, word, ha="center", va="bottom", fontsize=around, color=INK)
    name, _, place = steps[0].target.partition("[")
    if stage.titles[2] == "output":
        name = "y" if stage.name == "kernel" else f"{stage.name}, y"
    if len(stage.y) > 1:
        place = f"{', '.join(map(str, output))}]"
    text = _sum(f"{name}[{place}", steps, int(size.width * 3.3))
    style: dict[str, Any] = {"ha": "left", "va": "top", "color": INK, "wrap": True}
    ax.text(0, bottom, text, fontsize=around, **style)
    ax.set_xlim(-0.1, size.width)
    ax.set_ylim(size.height - 0.6, -1)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _sum(target: str, steps: list[Step], width: int) -> str:
    """Write the sum out with its numbers, in lines of so many letters."""
    before = steps[0].sum - steps[0].value * steps[0].factor
    words = [f"{target} ="] + ([f"{short(before)} +"] if abs(before) > 1e-9 else [])
    products = [f"{_signed(step.value)}·{_signed(step.factor)}" for step in steps]
    words += [product + " +" for product in products[:-1]] + [
        products[-1],
        f"= {short(steps[-1].sum)}",
    ]
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(lines)


def _fitted(number: float) -> str:
    """Write a number of a cell, in as many digits as six letters hold."""
    texts = [short(number, digits) for digits in (3, 2, 1)]
    return next((text for text in texts if len(text) <= 6), texts[-1])


def _signed(number: float) -> str:
    return f"({short(number)})" if number < 0 else short(number)
