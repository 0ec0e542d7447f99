"""The lessons between the variants: two ways to do one thing, on a photo, ending in a number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import shapes
from ..images import filters
from ..images.photo import feature_maps, load_image
from ..images.resample import bilinear_kernel, bilinear_upsample, max_pool2d, nearest_upsample
from ..variants.deformable import deform_conv2d
from ..variants.dilated import dilated_conv2d
from ..variants.front_door import conv2d
from ..variants.grouped import grouped_conv2d
from ..variants.pointwise import pointwise_conv2d
from ..variants.separable import factor_kernel, separable_conv2d
from ..variants.transposed import conv_transpose2d

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Lesson(NamedTuple):
    """What two ways to do one thing give and cost; `print` it, or `plot` it.

    Attributes
    ----------
    question : str
        What is compared.
    numbers : dict of str to int or float
        What was measured.
    answer : str
        What follows from it.
    pictures : dict of str to numpy.ndarray (H, W)
        What to write above each, and its values: black at 0, white at 1, and beyond as there.
    """

    question: str
    numbers: dict[str, int | float]
    answer: str
    pictures: dict[str, np.ndarray]

    def __str__(self) -> str:
        width = max(map(len, self.numbers))
        rows = (
            f"  {name:<{width}}  {number:,}"
            if isinstance(number, int)
            else f"  {name:<{width}}  {number:.4g}"
            for name, number in self.numbers.items()
        )
        return "\n".join([self.question, *rows, self.answer])

    def __repr__(self) -> str:
        return str(self)

    def plot(self) -> Figure:
        """Draw the pictures side by side; what they say is printed."""
        from ..plots.panels import plot_panels

        return plot_panels(self.pictures)


def stride_or_pooling(path: str | Path | None = None) -> Lesson:
    """Halve the edges of a photo by a stride of 2, and by max pooling (document §1).

    Parameters
    ----------
    path : str or Path, optional
        A photo of at least 64×64 pixels; matplotlib's own where it is left out.

    Returns
    -------
    Lesson
        What each multiplies, and how strong the edges are that it keeps.

    Raises
    ------
    ValueError
        If the file is no image, or a small one.

    Examples
    --------
    >>> print(stride_or_pooling())  # doctest: +ELLIPSIS
    Half the size: by a stride of 2, or by max pooling?
      multiplies with stride 2                          691,200
      multiplies with max pooling                       2,764,800
      strength of the edges, stride 2 over max pooling  0.62...
    Max pooling takes 4.00 times the multiplies and keeps the largest of four;
    a stride keeps the first, whose edges are 62% as strong.
    """
    x = _grey(path)
    weight = filters.sobel("x")[np.newaxis, np.newaxis]
    strided, cheap = conv2d(x, weight, stride=2, padding=1)
    full, dear = conv2d(x, weight, padding=1)
    strided, pooled = np.abs(strided[0]), max_pool2d(np.abs(full), 2)[0]
    ratio, strength = dear.multiplies / cheap.multiplies, float(strided.sum() / (pooled.sum() or 1))
    return Lesson(
        "Half the size: by a stride of 2, or by max pooling?",
        {
            "multiplies with stride 2": cheap.multiplies,
            "multiplies with max pooling": dear.multiplies,
            "strength of the edges, stride 2 over max pooling": strength,
        },
        f"Max pooling takes {ratio:.2f} times the multiplies and keeps the largest of four;\n"
        f"a stride keeps the first, whose edges are {strength:.0%} as strong.",
        {
            "photo": _detail(x[0]),
            "edges with stride 2": _detail(strided),
            "edges, then max pooling": _detail(pooled),
        },
    )


def dilated_or_pooling(path: str | Path | None = None) -> Lesson:
    """See edges of twice the width by dilation, and by pooling and upsampling (document §2).

    What is lost where the image was small shows when the photo moves by a pixel: edges should move
    with it and stay the same.

    Parameters
    ----------
    path : str or Path, optional
        As in `stride_or_pooling`.

    Returns
    -------
    Lesson
        What each multiplies, and by how much its edges change when the photo moves.

    Raises
    ------
    ValueError
        As `stride_or_pooling`.

    Examples
    --------
    >>> lesson = dilated_or_pooling()
    >>> lesson.numbers["change when the photo moves by a pixel, dilation"]
    0.0
    >>> round(lesson.numbers["change when the photo moves by a pixel, pooling"], 2)
    0.22
    """
    x = _grey(path)
    weight = filters.sobel("x")[np.newaxis, np.newaxis]

    def dilated(x: np.ndarray) -> tuple[np.ndarray, int]:
        y, report = dilated_conv2d(x, weight, dilation=2, padding=2)
        return np.abs(y[0]), report.multiplies

    def pooled(x: np.ndarray) -> tuple[np.ndarray, int]:
        y, report = conv2d(max_pool2d(x, 2), weight, padding=1)
        return bilinear_upsample(np.abs(y), 2)[0], report.multiplies

    shown, multiplies, changes = [], [], []
    for edges in (dilated, pooled):
        y, count = edges(x)
        moved = np.roll(edges(np.roll(x, 1, axis=2))[0], -1, axis=1)
        inside = np.s_[8:-8, 8:-8]
        changes.append(_error(moved[inside], y[inside]))
        shown.append(y)
        multiplies.append(count)
    near, far = shapes.receptive_field([(3, 1, 2)]), shapes.receptive_field([(2, 2), (3,)])
    return Lesson(
        "See wider: by dilation, or by pooling, convolution and upsampling?",
        {
            "multiplies with dilation": multiplies[0],
            "multiplies with pooling": multiplies[1],
            "change when the photo moves by a pixel, dilation": changes[0],
            "change when the photo moves by a pixel, pooling": changes[1],
        },
        f"Nine weights see {near}×{near} pixels with rate 2, {far}×{far} after pooling. "
        f"Pooling takes {multiplies[1] / multiplies[0]:.0%} of the multiplies,\n"
        "but forgets where things were: "
        f"when the photo moves by a pixel, its edges change by {changes[1]:.0%}, "
        f"the dilated ones by {changes[0]:.0%}.",
        {
            "photo": _detail(x[0]),
            "edges with rate 2": _detail(shown[0]),
            "pooling, edges, upsampling": _detail(shown[1]),
        },
    )


def transposed_or_bilinear(path: str | Path | None = None) -> Lesson:
    """Bring a photo back from half its size by interpolation, and by a fitted kernel (document §3).

    The 6×6 kernel of the transposed convolution is fitted by least squares to the left half of the
    photo; every number is of the right half.

    Parameters
    ----------
    path : str or Path, optional
        As in `stride_or_pooling`.

    Returns
    -------
    Lesson
        The peak signal-to-noise ratio of each way, in dB.

    Raises
    ------
    ValueError
        As `stride_or_pooling`.

    Examples
    --------
    >>> for name, number in transposed_or_bilinear().numbers.items():
    ...     print(f"{number:.1f} {name}")
    27.5 dB, nearest
    28.0 dB, bilinear
    28.0 dB, transposed, bilinear kernel
    29.3 dB, transposed, fitted kernel
    """
    x = _grey(path)
    small = conv2d(x, filters.box(2)[np.newaxis, np.newaxis], stride=2).output
    half = x.shape[2] // 2
    left, right = np.s_[8:-8, 8 : half - 8], np.s_[8:-8, half + 8 : -8]

    # what each tap alone would give, for each pixel: the kernel is a weighted sum of its taps
    taps = np.eye(36, dtype=np.float32).reshape(1, 36, 6, 6)
    alone = conv_transpose2d(small, taps, stride=2, padding=2).output
    wanted = x[0][left].ravel()
    fitted, *_ = np.linalg.lstsq(
        np.stack([y[left].ravel() for y in alone], axis=1), wanted, rcond=None
    )
    fitted = fitted.reshape(1, 1, 6, 6)
    kernel = bilinear_kernel(2)
    ways = {
        "nearest": nearest_upsample(small, 2),
        "bilinear": bilinear_upsample(small, 2),
        "transposed, bilinear kernel": conv_transpose2d(small, kernel, stride=2, padding=1).output,
        "transposed, fitted kernel": conv_transpose2d(small, fitted, stride=2, padding=2).output,
    }
    quality = {
        name: float(-10 * np.log10(max(np.mean((y - x)[0][right] ** 2), 1e-12)))  # exact: 120 dB
        for name, y in ways.items()
    }
    gain = quality["transposed, fitted kernel"] - quality["bilinear"]
    return Lesson(
        "Twice the size: by bilinear upsampling, or by a transposed convolution?",
        {f"dB, {name}": number for name, number in quality.items()},
        "A transposed convolution with the bilinear kernel is bilinear upsampling; "
        f"one whose kernel was fitted\nto the photo's left half gains {gain:.1f} dB on the right.",
        {
            name: _detail(y[0])
            for name, y in {"photo": x, **ways}.items()
            if "bilinear kernel" not in name
        },
    )


def sobel_both_ways(path: str | Path | None = None) -> Lesson:
    """Find edges by Sobel's 3×3 kernel, and by its column and row (document §4).

    Parameters
    ----------
    path : str or Path, optional
        As in `stride_or_pooling`.

    Returns
    -------
    Lesson
        Multiplies a pixel, and the largest difference.

    Raises
    ------
    ValueError
        As `stride_or_pooling`.

    Examples
    --------
    >>> lesson = sobel_both_ways()
    >>> lesson.numbers["multiplies, 3×3"], lesson.numbers["multiplies, column and row"]
    (2764800, 1843200)
    >>> lesson.numbers["largest difference"] < 1e-5
    True
    """
    x = _grey(path)
    kernel = filters.sobel("x")
    column, row = factor_kernel(kernel)
    whole, dense = conv2d(x, kernel[np.newaxis, np.newaxis], padding="same")
    parts, cheap = separable_conv2d(x, column, row, padding="same")
    smooth = separable_conv2d(x, column, [1.0], padding="same").output[0] / column.sum()
    difference = float(np.abs(whole - parts).max())
    pixels = whole.size
    return Lesson(
        "Sobel's edges: by a 3×3 kernel, or by a column and a row?",
        {
            "multiplies, 3×3": dense.multiplies,
            "multiplies, column and row": cheap.multiplies,
            "multiplies a pixel, 3×3": dense.multiplies / pixels,
            "multiplies a pixel, column and row": cheap.multiplies / pixels,
            "largest difference": difference,
        },
        f"The same edges, to {difference:.0e}, with {cheap.multiplies / pixels:.0f} multiplies "
        f"a pixel instead of {dense.multiplies / pixels:.0f}.",
        {
            "photo": _detail(x[0]),
            "3×3 kernel": np.abs(_detail(whole[0])),
            "column: smoothed": _detail(smooth),
            "then row: differences": np.abs(_detail(parts[0])),
        },
    )


def fewer_channels(path: str | Path | None = None) -> Lesson:
    """Shrink 18 channels by a 1×1 convolution, and bring them back by another (document §7).

    The channels are `jitconv.images.photo.feature_maps` of the photo; the weights are their
    principal directions, which lose the least.

    Parameters
    ----------
    path : str or Path, optional
        As in `stride_or_pooling`.

    Returns
    -------
    Lesson
        Share of the channels' variance that is lost, for every number of channels between.

    Raises
    ------
    ValueError
        As `stride_or_pooling`.

    Examples
    --------
    >>> fewer_channels().answer[:67]
    'Half the channels lose 0.2% of the variance, a third 1.1%, a ninth '
    """
    maps = feature_maps(_colours(path))
    maps -= maps.mean(axis=(1, 2), keepdims=True)
    maps /= maps.std(axis=(1, 2), keepdims=True) + 1e-6
    C = len(maps)
    flat = maps.reshape(C, -1).astype(np.float64)
    _, directions = np.linalg.eigh(flat @ flat.T)  # the weakest first
    edges = maps[12]  # Sobel's, of the first colour
    losses, pictures = {}, {"a channel of edges": edges}
    for m in (12, 9, 6, 3, 2, 1):
        down = directions.T[: -m - 1 : -1].astype(np.float32)
        between = pointwise_conv2d(maps, down).output
        back = pointwise_conv2d(between, np.ascontiguousarray(down.T)).output
        losses[m] = _error(back, maps) ** 2
        if m in (6, 3, 2):
            pictures[f"through {m}: {losses[m]:.1%} lost"] = back[12]
    return Lesson(
        f"{C} channels through fewer and back, by 1×1 convolutions: what is lost?",
        {f"variance lost through {m}": loss for m, loss in losses.items()},
        f"Half the channels lose {losses[9]:.1%} of the variance, a third {losses[6]:.1%}, "
        f"a ninth {losses[2]:.0%}: channels that say the same are free to go.",
        {title: np.abs(_detail(picture)) / 3 for title, picture in pictures.items()},
    )


def groups_or_mixing(path: str | Path | None = None) -> Lesson:
    """Save multiplies by groups, and measure which channels still meet (document §8).

    Each of the photo's 18 channels is changed in turn, to see which outputs change.

    Parameters
    ----------
    path : str or Path, optional
        As in `stride_or_pooling`.

    Returns
    -------
    Lesson
        Multiplies, and the share of pairs of input and output channels that meet.

    Raises
    ------
    ValueError
        As `stride_or_pooling`.

    Examples
    --------
    >>> lesson = groups_or_mixing()
    >>> lesson.numbers["pairs that meet, two layers, 3 groups"]
    0.3333333333333333
    >>> lesson.numbers["pairs that meet, two layers, 3 groups, shuffled"]
    1.0
    """
    maps = np.ascontiguousarray(feature_maps(_colours(path))[:, :64, :64])
    C, groups = len(maps), 3
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(C, C, 3, 3)).astype(np.float32)
    first, second = rng.normal(size=(2, C, C // groups, 3, 3)).astype(np.float32)
    shuffle = np.arange(C).reshape(groups, -1).T.ravel()  # ShuffleNet's: one of each group in turn

    def once(x):
        y, report = conv2d(x, dense, padding=1)
        return y, report.multiplies

    def grouped(x):
        y, report = grouped_conv2d(x, first, groups=groups, padding=1)
        return y, report.multiplies

    def twice(x, order=slice(None)):
        y, count = grouped(x)
        y, report = grouped_conv2d(y[order], second, groups=groups, padding=1)
        return y, count + report.multiplies

    ways = {
        "one layer, 1 group": once,
        f"one layer, {groups} groups": grouped,
        f"two layers, {groups} groups": twice,
        f"two layers, {groups} groups, shuffled": lambda x: twice(x, shuffle),
    }
    numbers, pictures = {}, {}
    for name, layers in ways.items():
        y, multiplies = layers(maps)
        meet = np.empty((C, C))
        for c in range(C):
            changed = maps.copy()
            changed[c] += 1
            meet[:, c] = (layers(changed)[0] != y).any(axis=(1, 2))
        numbers[f"multiplies, {name}"] = multiplies
        numbers[f"pairs that meet, {name}"] = float(meet.mean())
        squares = np.kron(meet, np.pad(np.ones((8, 8)), (0, 1)))  # with a line between channels
        pictures[f"{name}\n{meet.mean():.0%} of the pairs meet"] = 1 - squares[:-1, :-1]
    full, _, _, _, _, _, cheap, mixed = numbers.values()
    return Lesson(
        "Groups save multiplies: do the channels still meet?",
        numbers,
        f"Rows are output channels, columns input channels; black ones meet. Two layers of "
        f"{groups} groups, shuffled between,\nlet {mixed:.0%} of the pairs meet "
        f"for {cheap / full:.0%} of the multiplies.",
        pictures,
    )


def offsets_for_a_rotation(path: str | Path | None = None) -> Lesson:
    """Find edges in a rotated photo, with a fixed grid and with one that turns along (document §9).

    Parameters
    ----------
    path : str or Path, optional
        As in `stride_or_pooling`.

    Returns
    -------
    Lesson
        By how much the edges of the rotated photo differ from the rotated edges of the photo.

    Raises
    ------
    ValueError
        As `stride_or_pooling`.

    Examples
    --------
    >>> lesson = offsets_for_a_rotation()
    >>> round(lesson.numbers["difference, fixed grid"], 2)
    0.66
    >>> round(lesson.numbers["difference, turned grid"], 2)
    0.14
    """
    x = _grey(path)
    side = min(x.shape[1:])
    x = np.ascontiguousarray(x[:, :side, :side])
    degrees = 40
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = np.mgrid[:side, :side] - (side - 1) / 2  # of each pixel, seen from the middle

    def rotate(x: np.ndarray) -> np.ndarray:  # a deformable convolution too, of a single tap
        offset = np.tensordot(turn.T, place, 1) - place
        return deform_conv2d(x, offset.astype(x.dtype), np.ones((1, 1, 1, 1), x.dtype)).output

    weight = filters.sobel("x")[np.newaxis, np.newaxis]
    tap = np.mgrid[-1:2, -1:2].reshape(2, 9)
    offset = (turn @ tap - tap).T.reshape(18, 1, 1)
    offset = np.tile(offset, (1, side, side)).astype(x.dtype)
    turned = rotate(x)
    wanted = rotate(conv2d(x, weight, padding=1).output)[0]
    fixed, cheap = conv2d(turned, weight, padding=1)
    follows, dear = deform_conv2d(turned, offset, weight, padding=1)
    inside = np.hypot(*place) < side / 2 - 4
    errors = [_error(y[inside], wanted[inside]) for y in (fixed[0], follows[0])]

    def shown(y: np.ndarray) -> np.ndarray:
        return np.abs(y[side * 5 // 16 : side // 2, side * 5 // 16 : side // 2])

    return Lesson(
        f"A photo turned by {degrees}°: are its edges found as before?",
        {
            "difference, fixed grid": errors[0],
            "difference, turned grid": errors[1],
            "multiplies, fixed grid": cheap.multiplies,
            "multiplies, turned grid": dear.multiplies,
        },
        f"Offsets that turn the nine taps find the photo's own edges again, but for "
        f"{errors[1]:.0%}; a fixed grid misses them by {errors[0]:.0%}.",
        {
            "turned photo": shown(turned[0]),
            "edges before, turned": shown(wanted),
            "edges after, fixed grid": shown(fixed[0]),
            "edges after, turned grid": shown(follows[0]),
        },
    )


def _colours(path: str | Path | None) -> np.ndarray:
    """Return the photo as (3, H, W), with even sides."""
    image, _ = load_image(path)
    colours, H, W = image.shape
    if min(H, W) < 64:
        raise ValueError(f"path: the photo must have at least 64×64 pixels, got {H}×{W}")
    image = image[:, : H - H % 2, : W - W % 2]
    return np.repeat(image, 3, axis=0) if colours == 1 else np.ascontiguousarray(image)


def _grey(path: str | Path | None) -> np.ndarray:
    return _colours(path).mean(axis=0, keepdims=True)


def _detail(picture: np.ndarray) -> np.ndarray:
    """Cut out what is looked at: in the sample photo, the eyes."""
    H, W = picture.shape
    return picture[H * 3 // 16 : H * 3 // 8, W * 3 // 8 : W * 19 // 32]


def _error(y: np.ndarray, wanted: np.ndarray) -> float:
    """Return the root mean square of what is wrong, over that of what is wanted."""
    return float(np.linalg.norm(y - wanted) / (np.linalg.norm(wanted) or 1))
