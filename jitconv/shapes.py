"""Sizes: output, effective kernel, receptive field, taps and samples in bounds.

Exact integers, one function a relation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from . import checks

Pair = tuple[int, int]


class Window(NamedTuple):
    """How a kernel walks over an image: every field is a (height, width) pair.

    `taps` counts, on each axis, the pairs (position of the kernel, tap) that land in the image: the
    V of the in-bounds count. `output_padding` is that of a transposed convolution.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    output: Pair
    taps: Pair
    output_padding: Pair = (0, 0)


def output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int | Pair = 0, dilation: int = 1
) -> int:
    """Return ⌊(H − k + 2P)/S⌋ + 1, where k = D·(K − 1) + 1 is the effective kernel size.

    Parameters
    ----------
    size, kernel_size, stride, dilation : int
        Pixels of one axis.
    padding : int or (int, int)
        Zeros on both ends, or before and after.

    Returns
    -------
    int
        Outputs of the axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or too small, or the output would be empty.

    References
    ----------
    Document §1, 이미지 크기 변화; with dilation: Dumoulin and Visin, arXiv:1603.07285, relationship
    15.

    Examples
    --------
    >>> output_size(8, 3), output_size(8, 3, stride=2, padding=1), output_size(224, 7, 2, (3, 3))
    (6, 4, 112)
    """
    size = checks.integer("size", size, 1)
    kernel_size = checks.integer("kernel_size", kernel_size, 1)
    stride = checks.integer("stride", stride, 1)
    before, after = checks.height_width("padding", padding, 0)
    reach = effective_kernel_size(kernel_size, dilation)
    if size + before + after < reach:
        raise ValueError(
            f"kernel: reaches over {reach} = {dilation}·({kernel_size} − 1) + 1 pixels, "
            f"more than the padded input's {size + before + after} = {size} + {before} + {after}, "
            "so that the output would be empty; "
            f"pad by {reach - size} in all, or take a smaller kernel or dilation"
        )
    return (size + before + after - reach) // stride + 1


def transposed_output_size(
    size: int,
    kernel_size: int,
    stride: int = 1,
    padding: int | Pair = 0,
    dilation: int = 1,
    output_padding: int = 0,
) -> int:
    """Return (H − 1)·S − 2P + D·(K − 1) + output_padding + 1.

    This is the size that a convolution would have shrunk to H.

    Parameters
    ----------
    size, kernel_size, stride, dilation : int
        Pixels of one axis; `size` is that of the small image.
    padding : int or (int, int)
        Pixels cropped from both ends of the output, or before and after.
    output_padding : int
        Pixels that the output has more at its end.

    Returns
    -------
    int
        Outputs of the axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or too small, or the output would be empty.

    References
    ----------
    Document §3; Dumoulin and Visin, arXiv:1603.07285, relationship 14.

    Examples
    --------
    >>> transposed_output_size(8, 4, stride=2, padding=1)
    16
    """
    size = checks.integer("size", size, 1)
    stride = checks.integer("stride", stride, 1)
    before, after = checks.height_width("padding", padding, 0)
    extra = checks.integer("output_padding", output_padding, 0)
    reach = effective_kernel_size(kernel_size, dilation)
    result = (size - 1) * stride + reach + extra - before - after
    if result < 1:
        raise ValueError(
            f"padding: crops the output to ({size} − 1)·{stride} + {reach} + {extra} "
            f"− {before} − {after} = {result} pixels; "
            f"crop at most {result + before + after - 1} in all"
        )
    return result


def effective_kernel_size(kernel_size: int, dilation: int = 1) -> int:
    """Return D·(K − 1) + 1: how many pixels a dilated kernel spans.

    Parameters
    ----------
    kernel_size : int
        Taps of one axis.
    dilation : int
        Pixels from one tap to the next.

    Returns
    -------
    int
        Pixels from the first tap to the last, both counted.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or less than 1.

    References
    ----------
    Document §2: a 3×3 kernel with rate 2 sees 5×5.

    Examples
    --------
    >>> effective_kernel_size(3, dilation=2)
    5
    """
    return (
        checks.integer("dilation", dilation, 1)
        * (checks.integer("kernel_size", kernel_size, 1) - 1)
        + 1
    )


def same_padding(size: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> Pair:
    """Return the (before, after) that gives ⌈size / stride⌉ outputs; an odd pixel goes after.

    Parameters
    ----------
    size, kernel_size, stride, dilation : int
        Pixels of one axis.

    Returns
    -------
    (int, int)
        Zeros before and after the axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer or less than 1.

    References
    ----------
    Document §1, Padding.

    Examples
    --------
    >>> same_padding(7, 3), same_padding(8, 3, stride=2), same_padding(4, 2)
    ((1, 1), (0, 1), (0, 1))
    """
    size, stride = checks.integer("size", size, 1), checks.integer("stride", stride, 1)
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + effective_kernel_size(kernel_size, dilation) - size, 0)
    return total // 2, total - total // 2


def taps_of_phases(outputs: int, kernel_size: int, stride: int, before: int, dilation: int) -> int:
    """Count the pairs (output, tap) of an axis that a transposed convolution's phases multiply.

    Output o meets tap t if o + P − t·D is a multiple of the stride: that is where a pixel of the
    input stands, or would stand if the input went on beyond its border.

    Parameters
    ----------
    outputs, kernel_size, stride, dilation : int
        Positions and taps of one axis.
    before : int
        Outputs cropped before the first.

    Returns
    -------
    int
        The pairs; where the stride divides the outputs, outputs·K/S on average.

    Examples
    --------
    >>> taps_of_phases(16, 4, 2, 1, 1), taps_of_phases(16, 3, 2, 1, 1)
    (32, 24)
    """
    firsts = ((tap * dilation - before) % stride for tap in range(kernel_size))
    return sum(-(-(outputs - first) // stride) for first in firsts if first < outputs)


def taps_in_bounds(
    size: int, outputs: int, kernel_size: int, stride: int = 1, before: int = 0, dilation: int = 1
) -> int:
    """Return how many pairs (output position, tap) of one axis read the image, not the padding.

    Parameters
    ----------
    size, outputs, kernel_size : int
        Pixels of the image, positions of the kernel, taps of the kernel.
    stride, before, dilation : int
        Position p and tap k read pixel p·stride + k·dilation − before.

    Returns
    -------
    int
        Pairs that read the image, at most outputs · kernel_size.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer, or negative, or 0 where only `before` may be.

    Examples
    --------
    A 3-tap kernel, padded by 1: each end of the axis loses one of its 7·3 taps.

    >>> taps_in_bounds(7, 7, 3, before=1)
    19
    """
    for name, number in (("size", size), ("outputs", outputs), ("kernel_size", kernel_size)):
        checks.integer(name, number, 1)
    checks.integer("stride", stride, 1)
    checks.integer("before", before, 0)
    checks.integer("dilation", dilation, 1)
    total = 0
    for tap in range(kernel_size):
        first = max(0, -((tap * dilation - before) // stride))
        last = min(outputs - 1, (size - 1 - tap * dilation + before) // stride)
        total += max(0, last - first + 1)
    return total


def samples_in_bounds(offset: np.ndarray, window: Window) -> int:
    """Return how many samples of a deformable convolution have a corner pixel in the image.

    Parameters
    ----------
    offset : numpy.ndarray (N, 2·G·KH·KW, OH, OW)
        Pixels down, then right, for each tap in row-major order.
    window : Window
        The geometry.

    Returns
    -------
    int
        Samples less than one pixel outside; a NaN lies outside.

    References
    ----------
    Document §9.

    Examples
    --------
    A 1×1 kernel on a row of three pixels, moved two pixels to the right.

    >>> offset = np.zeros((1, 2, 1, 3))
    >>> offset[:, 1] = 2
    >>> samples_in_bounds(offset, window((1, 3), 1))
    1
    """
    N, channels, OH, OW = offset.shape
    KH, KW = window.kernel
    moves = offset.reshape(N, channels // (2 * KH * KW), KH, KW, 2, OH, OW)
    inside = np.ones((), bool)
    for axis, outputs in enumerate((np.arange(OH)[:, np.newaxis], np.arange(OW))):
        taps = np.arange(window.kernel[axis]) * window.dilation[axis] - window.padding[axis][0]
        taps = taps.reshape((-1, 1, 1, 1) if axis == 0 else (-1, 1, 1))
        still = (taps + outputs * window.stride[axis]).astype(np.float64)
        place = moves[:, :, :, :, axis] + still
        inside = inside & (place > -1) & (place < window.size[axis])
    return int(np.count_nonzero(inside))


def receptive_field(layers: Iterable[Sequence[int]]) -> int:
    """Return how many input pixels of one axis an output of a stack of convolutions sees.

    Parameters
    ----------
    layers : iterable of (kernel_size, stride, dilation)
        First layer first; stride and dilation may be left out and are then 1.

    Returns
    -------
    int
        Pixels from the first that is seen to the last; 1 where there are no layers.

    Raises
    ------
    TypeError, ValueError
        If a layer has no or too many numbers, or one is no integer of at least 1.

    References
    ----------
    Document §2, 수용 영역.

    Examples
    --------
    Two 3×3 layers see 5×5; with rates 1, 2, 4 three of them see 15×15.

    >>> receptive_field([(3,), (3,)]), receptive_field([(3, 1, 1), (3, 1, 2), (3, 1, 4)])
    (5, 15)
    """
    field, jump = 1, 1
    for layer in layers:
        if not (hasattr(layer, "__len__") and 1 <= len(layer) <= 3):
            raise ValueError(f"layers: each must be (kernel_size, stride, dilation), got {layer!r}")
        kernel_size, stride, dilation = (*layer, 1, 1)[:3]
        field += (effective_kernel_size(kernel_size, dilation) - 1) * jump
        jump *= checks.integer("stride", stride, 1)
    return field


def window(
    size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
) -> Window:
    """Check and complete the geometry of a convolution.

    Parameters
    ----------
    size, kernel_size, stride, dilation : int or (int, int)
        Both axes, or height and width.
    padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        'same' gives ⌈size / stride⌉ outputs with an odd pixel at the bottom and right, 'same_lower'
        at the top and left.

    Returns
    -------
    Window
        Every number as a (height, width) pair, with the output size and the taps in bounds.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed, or the output would be empty.

    References
    ----------
    Document §1, 이미지 크기 변화.

    Examples
    --------
    >>> window(8, 3, padding="same").output, window((8, 6), 3, stride=2).output
    ((8, 8), (3, 2))
    """
    size, kernel, stride, dilation = _pairs(size, kernel_size, stride, dilation)
    return _window(size, kernel, stride, _ends(padding, size, kernel, stride, dilation), dilation)


@functools.lru_cache
def _window(size: Pair, kernel: Pair, stride: Pair, ends: tuple[Pair, Pair], dilation: Pair):
    each_axis = list(zip(size, kernel, stride, ends, dilation, strict=True))
    OH, OW = (output_size(*axis) for axis in each_axis)
    V_h, V_w = (
        taps_in_bounds(h, oh, k, s, p[0], d)
        for (h, k, s, p, d), oh in zip(each_axis, (OH, OW), strict=True)
    )
    return Window(size, kernel, stride, ends, dilation, (OH, OW), (V_h, V_w))


def transposed_window(
    size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    output_padding: int | Sequence[int] = 0,
) -> Window:
    """Check and complete the geometry of a transposed convolution.

    It is the walk of `window` with input and output swapped.

    Parameters
    ----------
    size, kernel_size, stride, dilation : int or (int, int)
        Both axes, or height and width; `size` is the small image that is upsampled.
    padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Rows and columns cropped from the output. 'same' gives size · stride outputs.
    output_padding : int or (int, int)
        Rows at the bottom and columns at the right that the size formula adds; less than stride or
        dilation.

    Returns
    -------
    Window
        `size` is that of the small image, `output` that of the large one, `padding` the crop.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed, or the output would be empty.

    References
    ----------
    Document §3.

    Examples
    --------
    >>> transposed_window(8, 4, stride=2, padding=1).output
    (16, 16)
    >>> transposed_window(8, 3, stride=2, padding="same").output
    (16, 16)
    """
    size, kernel, stride, dilation = _pairs(size, kernel_size, stride, dilation)
    extra = checks.height_width("output_padding", output_padding, 0)
    for axis, name in enumerate(("height", "width")):
        if extra[axis] >= max(stride[axis], dilation[axis]):
            raise ValueError(
                f"output_padding: {extra[axis]} in {name} must be less than stride {stride[axis]} "
                f"or dilation {dilation[axis]}; "
                "it only chooses among the sizes that one stride covers"
            )
    if isinstance(padding, str) and padding != "valid":
        if extra != (0, 0):
            raise ValueError(
                f"output_padding: {extra} has no meaning with padding {padding!r}; leave it 0"
            )
        output = (size[0] * stride[0], size[1] * stride[1])
        ends = _ends(padding, output, kernel, stride, dilation)
        reach = map(effective_kernel_size, kernel, dilation)
        E_h, E_w = (max(s - k, 0) for s, k in zip(stride, reach, strict=True))
        extra = (E_h, E_w)
    else:
        ends = _ends(padding, size, kernel, stride, dilation)
    each_axis = zip(size, kernel, stride, ends, dilation, extra, strict=True)
    OH, OW = (transposed_output_size(*axis) for axis in each_axis)
    each_axis = zip((OH, OW), size, kernel, stride, ends, dilation, strict=True)
    V_h, V_w = (taps_in_bounds(oh, h, k, s, p[0], d) for oh, h, k, s, p, d in each_axis)
    return Window(size, kernel, stride, ends, dilation, (OH, OW), (V_h, V_w), extra)


def reversed_window(window: Window) -> Window:
    """Return the window of the gradient with respect to the input: outputs spread over the image.

    Parameters
    ----------
    window : Window
        Of a convolution, or of a transposed one.

    Returns
    -------
    Window
        Of a transposed convolution, or of a convolution, with the same taps in bounds.

    Examples
    --------
    >>> back = reversed_window(window(8, 3, stride=2, padding=1))
    >>> back.size, back.output
    ((4, 4), (8, 8))
    """
    return window._replace(size=window.output, output=window.size, output_padding=(0, 0))


class Block(NamedTuple):
    """A block of outputs along an axis, of an image that is cut into chunks.

    Attributes
    ----------
    outputs : int
        How many there are; none where a stride steps over a chunk, or they are cropped.
    pixels : (int, int)
        Begin and end of the pixels that they need, among those of the chunk and its halo.
    padding : (int, int)
        Zeros before and after these; of a transposed convolution, outputs cropped at both ends.
    output_padding : int
        Outputs that a transposed convolution has more at the end.
    """

    outputs: int
    pixels: Pair
    padding: Pair
    output_padding: int = 0


def halo(window: Window, axis: int) -> Pair:
    """Return how many pixels beyond both ends of a chunk the outputs of its block may see.

    An output belongs to the chunk in which the middle of its window lies, so that a halo is half a
    receptive field.

    Parameters
    ----------
    window : Window
        The geometry of a convolution.
    axis : int
        0 for the height, 1 for the width.

    Returns
    -------
    (int, int)
        Pixels before and after.

    Raises
    ------
    TypeError, ValueError
        If the axis is neither.

    References
    ----------
    Document §2, 수용 영역.

    Examples
    --------
    >>> halo(window(100, 5), 0), halo(window(100, 3, dilation=4), 0), halo(window(100, 4), 0)
    ((2, 2), (4, 4), (2, 1))
    """
    axis = _axis(axis)
    reach = effective_kernel_size(window.kernel[axis], window.dilation[axis])
    return reach // 2, reach - reach // 2 - 1


def transposed_halo(window: Window, axis: int) -> Pair:
    """Return the same for a transposed convolution, whose pixels land on outputs further on.

    Parameters
    ----------
    window : Window
        The geometry, from `transposed_window`.
    axis : int
        0 for the height, 1 for the width.

    Returns
    -------
    (int, int)
        Pixels before, and none after.

    Raises
    ------
    TypeError, ValueError
        If the axis is neither.

    References
    ----------
    Document §3.

    Examples
    --------
    >>> transposed_halo(transposed_window(100, 4, stride=2), 0)
    (1, 0)
    """
    axis = _axis(axis)
    reach = effective_kernel_size(window.kernel[axis], window.dilation[axis])
    return (reach - 1) // window.stride[axis], 0


def blocks(window: Window, axis: int, chunks: Sequence[int], margin: int = 0) -> list[Block]:
    """Cut the outputs of an axis into a block for each chunk of the image.

    An output belongs to the chunk in which the middle of its window lies, and one whose window lies
    wholly behind the image to the block of the last that does not.

    Parameters
    ----------
    window : Window
        The geometry of a convolution.
    axis : int
        0 for the height, 1 for the width.
    chunks : sequence of int
        Pixels of each chunk, in order.
    margin : int
        Pixels that a halo has besides those of `halo`.

    Returns
    -------
    list of Block
        One a chunk.

    Raises
    ------
    TypeError, ValueError
        If the axis is neither, or the chunks are no integers, negative, or do not add up to it.

    References
    ----------
    Document §1, 이미지 크기 변화.

    Examples
    --------
    >>> for block in blocks(window(10, 3, stride=2, padding=1), 0, (4, 6)):
    ...     print(block)
    Block(outputs=2, pixels=(0, 4), padding=(1, 0), output_padding=0)
    Block(outputs=3, pixels=(0, 7), padding=(0, 0), output_padding=0)
    """
    axis = _axis(axis)
    size, stride, outputs = window.size[axis], window.stride[axis], window.output[axis]
    (before, _), (low, high) = window.padding[axis], halo(window, axis)
    reach = low + high + 1
    chunks = _chunks(chunks, size)
    misses = min(-(-(before + size) // stride), outputs)  # the first whose window lies behind
    found, begin, start = [], 0, 0
    for edge in itertools.accumulate(chunks):
        end = -(-(edge + before - low) // stride)
        if end >= misses or edge == size:
            end = outputs
        held, held_end = max(start - low - margin, 0), min(edge + high + margin, size)
        first, last = begin * stride - before, (end - 1) * stride - before + reach
        at = max(first, held)
        stop = max(min(last, held_end), at + 1)
        zeros = at - first, max(last - stop, 0)
        found.append(Block(end - begin, (at - held, stop - held), zeros))
        begin, start = end, edge
    return found


def transposed_blocks(window: Window, axis: int, chunks: Sequence[int]) -> list[Block]:
    """Return the same for a transposed convolution.

    A block begins where the first pixel of its chunk lands.

    Parameters
    ----------
    window : Window
        The geometry, from `transposed_window`.
    axis : int
        0 for the height, 1 for the width.
    chunks : sequence of int
        Pixels of each chunk, in order.

    Returns
    -------
    list of Block
        One a chunk.

    Raises
    ------
    TypeError, ValueError
        If the axis is neither, or the chunks are no integers, negative, or do not add up to it.

    References
    ----------
    Document §3.

    Examples
    --------
    >>> for block in transposed_blocks(transposed_window(6, 4, stride=2, padding=1), 0, (3, 3)):
    ...     print(block)
    Block(outputs=5, pixels=(0, 3), padding=(1, 2), output_padding=0)
    Block(outputs=7, pixels=(0, 4), padding=(2, 1), output_padding=0)
    """
    axis = _axis(axis)
    size, stride, outputs = window.size[axis], window.stride[axis], window.output[axis]
    (crop, _), (low, _) = window.padding[axis], transposed_halo(window, axis)
    chunks = _chunks(chunks, size)
    reach = effective_kernel_size(window.kernel[axis], window.dilation[axis])
    found, begin, start = [], 0, 0
    for edge in itertools.accumulate(chunks):
        end = edge * stride - crop if edge < size else outputs
        end = min(max(end, begin), outputs)
        held = max(start - low, 0)
        landed = crop - held * stride  # from where the first pixel lands to output 0
        rest = (edge - held - 1) * stride + reach - (end + landed)
        crops = begin + landed, max(rest, 0)
        found.append(Block(end - begin, (0, edge - held), crops, max(-rest, 0)))
        begin, start = end, edge
    return found


def _axis(axis: int) -> int:
    axis = checks.integer("axis", axis, 0)
    if axis > 1:
        raise ValueError(f"axis: must be 0, the height, or 1, the width, got {axis}")
    return axis


def _chunks(chunks: Sequence[int], size: int) -> list[int]:
    found = [checks.integer(f"chunks[{i}]", chunk, 0) for i, chunk in enumerate(chunks)]
    if sum(found) != size:
        raise ValueError(f"chunks: must add up to the {size} pixels of the axis, got {sum(found)}")
    return found


def _pairs(size, kernel_size, stride, dilation) -> tuple[Pair, Pair, Pair, Pair]:
    return (
        checks.height_width("size", size, 1),
        checks.height_width("kernel_size", kernel_size, 1),
        checks.height_width("stride", stride, 1),
        checks.height_width("dilation", dilation, 1),
    )


def _ends(padding, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    if not isinstance(padding, str):
        return checks.padding_pairs(padding)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding not in ("same", "same_lower"):
        raise ValueError(
            f"padding: unknown word {padding!r}; write 'valid', 'same', 'same_lower' or numbers"
        )
    height, width = (
        same_padding(*axis) for axis in zip(size, kernel, stride, dilation, strict=True)
    )
    return (height, width) if padding == "same" else (height[::-1], width[::-1])
