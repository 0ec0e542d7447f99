"""Networks of the papers, built row by row as their tables print them."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from .. import checks
from .network import Layer, Network


def mobilenet_v1(
    width: float = 1.0, resolution: int = 224, *, separable: bool = True, classes: int = 1000
) -> Network:
    """Return MobileNet: thirteen depthwise separable convolutions behind a standard one.

    Parameters
    ----------
    width : float
        α: share of the channels of every layer that are kept.
    resolution : int
        Height and width of the image.
    separable : bool
        Whether the thirteen are depthwise separable; standard convolutions, the paper's "Conv
        MobileNet", otherwise.
    classes : int
        Outputs of the last layer.

    Returns
    -------
    Network
        With batch normalisation and ReLU behind every convolution.

    Raises
    ------
    TypeError, ValueError
        If a number is ill-formed, or too small to leave a channel or pixel.

    References
    ----------
    Howard et al., arXiv:1704.04861, Table 1, whose last depthwise layer is misprinted with a stride
    of 2: its input and output are both 7×7.

    Examples
    --------
    >>> mobilenet_v1().multiplies, mobilenet_v1().weights
    (568740352, 4209088)
    """
    if not isinstance(width, numbers.Real) or not 0 < width < 100:
        raise ValueError(f"width: must be a number above 0 and below 100, got {width!r}")
    pairs = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    pairs += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]

    def layers() -> Iterator[Layer]:
        C = int(32 * width)
        yield _normed("conv1", C, 3, 2, "same")
        for number, (M, stride) in enumerate(pairs, 2):
            M = int(M * width)
            if separable:
                yield _normed(f"dw{number}", C, 3, stride, "same", groups=C)
                yield _normed(f"pw{number}", M)
            else:
                yield _normed(f"conv{number}", M, 3, stride, "same")
            C = M
        yield Layer("pool", "global average pool")
        yield Layer("fc", "linear", classes, bias=True)

    name = f"{'' if separable else 'Conv '}MobileNet v1"
    return Network(name + f" {width:g}" * (width != 1), (3, resolution, resolution), layers())


def squeezenet(version: str = "1.0", resolution: int = 224) -> Network:
    """Return SqueezeNet: fire modules squeeze by 1×1 and expand by 1×1 and 3×3.

    Parameters
    ----------
    version : '1.0' or '1.1'
        1.1 starts with smaller kernels and pools earlier.
    resolution : int
        Height and width of the image.

    Returns
    -------
    Network
        With biases, without batch normalisation.

    Raises
    ------
    TypeError, ValueError
        If a number is ill-formed, or version another word.

    References
    ----------
    Iandola et al., arXiv:1602.07360, Table 1.

    Examples
    --------
    >>> squeezenet().parameters, squeezenet("1.1").parameters
    (1248424, 1235496)
    """
    if version not in ("1.0", "1.1"):
        raise ValueError(f"version: must be '1.0' or '1.1', got {version!r}")
    early = version == "1.1"
    fires = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    pools = (1, 3, 5) if early else (1, 4, 8)

    def layers() -> Iterator[Layer]:
        yield _biased("conv1", 64 if early else 96, 3 if early else 7, 2)
        yield _pool("pool1")
        for number, (squeeze, expand) in enumerate(fires, 2):
            fire = f"fire{number}"
            yield _biased(f"{fire}/squeeze", squeeze)
            yield _biased(f"{fire}/expand1", expand, inputs=(f"{fire}/squeeze",))
            yield _biased(f"{fire}/expand3", expand, 3, 1, 1, inputs=(f"{fire}/squeeze",))
            yield Layer(fire, "concatenate", inputs=(f"{fire}/expand1", f"{fire}/expand3"))
            if number in pools:
                yield _pool(f"pool{number}")
        yield _biased("conv10", 1000)
        yield Layer("pool10", "global average pool")

    return Network(f"SqueezeNet {version}", (3, resolution, resolution), layers())


def inception_v1(kernel: int = 5) -> Network:
    """Return GoogLeNet, the first Inception, without its auxiliary heads.

    Parameters
    ----------
    kernel : 5 or 3
        The widest kernel of a module: 5 as in the paper, with biases; 3 as in torchvision, with
        batch normalisation.

    Returns
    -------
    Network
        For images of 224×224.

    Raises
    ------
    ValueError
        If kernel is another number.

    References
    ----------
    Szegedy et al., arXiv:1409.4842, Table 1.

    Examples
    --------
    >>> inception_v1().parameters, inception_v1(kernel=3).parameters
    (6998552, 6624904)
    """
    if kernel not in (3, 5):
        raise ValueError(f"kernel: must be 5 or 3, got {kernel!r}")
    conv = _biased if kernel == 5 else _normed
    modules = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }

    def layers() -> Iterator[Layer]:
        yield conv("conv1", 64, 7, 2, 3)
        yield _pool("pool1")
        yield conv("conv2/reduce", 64)
        yield conv("conv2", 192, 3, 1, 1)
        before = "pool2"
        yield _pool(before)
        for name, (one, reduce3, three, reduce5, five, projected) in modules.items():
            yield conv(f"{name}/1×1", one, inputs=(before,))
            yield conv(f"{name}/3×3 reduce", reduce3, inputs=(before,))
            yield conv(f"{name}/3×3", three, 3, 1, 1)
            yield conv(f"{name}/5×5 reduce", reduce5, inputs=(before,))
            yield conv(f"{name}/5×5", five, kernel, 1, kernel // 2)
            yield Layer(f"{name}/pool", "max pool", 0, 3, 1, 1, inputs=(before,))
            yield conv(f"{name}/projection", projected)
            parts = ("1×1", "3×3", "5×5", "projection")
            yield Layer(name, "concatenate", inputs=tuple(f"{name}/{part}" for part in parts))
            before = name
            if name == "3b":
                before = "pool3"
                yield _pool(before)
            if name == "4e":
                before = "pool4"
                size = 3 if kernel == 5 else 2
                yield Layer(before, "max pool", 0, size, 2, ceil=True)
        yield Layer("pool5", "global average pool")
        yield Layer("fc", "linear", 1000, bias=True)

    name = "GoogLeNet (Inception v1)" + ", 3×3 for 5×5" * (kernel == 3)
    return Network(name, (3, 224, 224), layers())


def xception() -> Network:
    """Return Xception: 34 separable convolutions between residual connections.

    Returns
    -------
    Network
        For images of 299×299; batch normalisation behind every pointwise convolution, none between
        depthwise and pointwise.

    References
    ----------
    Chollet, arXiv:1610.02357, Figure 5.

    Examples
    --------
    >>> xception().parameters
    22855952
    """

    def separable(name: str, C: int, M: int) -> Iterator[Layer]:
        yield Layer(f"{name}/dw", "conv", C, 3, 1, 1, groups=C)
        yield _normed(f"{name}/pw", M)

    def down(name: str, before: str, C: int, middle: int, M: int) -> Iterator[Layer]:
        yield replace(_normed(f"{name}/shortcut", M, 1, 2, inputs=(before,)), relu=False)
        first, second = separable(f"{name}/1", C, middle)
        yield replace(first, inputs=(before,))
        yield second
        yield from separable(f"{name}/2", middle, M)
        yield Layer(f"{name}/pool", "max pool", 0, 3, 2, 1)
        yield Layer(name, "add", inputs=(f"{name}/pool", f"{name}/shortcut"))

    def layers() -> Iterator[Layer]:
        yield _normed("conv1", 32, 3, 2)
        yield _normed("conv2", 64, 3)
        yield from down("block2", "conv2", 64, 128, 128)
        yield from down("block3", "block2", 128, 256, 256)
        yield from down("block4", "block3", 256, 728, 728)
        for number in range(5, 13):
            for part in (1, 2, 3):
                yield from separable(f"block{number}/{part}", 728, 728)
            inputs = (f"block{number}/3/pw", f"block{number - 1}")
            yield Layer(f"block{number}", "add", inputs=inputs)
        yield from down("block13", "block12", 728, 728, 1024)
        yield from separable("block14/1", 1024, 1536)
        yield from separable("block14/2", 1536, 2048)
        yield Layer("pool", "global average pool")
        yield Layer("fc", "linear", 1000, bias=True)

    return Network("Xception", (3, 299, 299), layers())


def resnet(depth: int = 50, *, groups: int = 1, width: int = 64, stride_on: str = "3×3") -> Network:
    """Return a residual network of bottlenecks.

    Parameters
    ----------
    depth : 50, 101 or 152
        Layers.
    groups : int
        Groups of the 3×3 convolutions.
    width : int
        Channels of the first 3×3 convolutions, doubled at every stage.
    stride_on : '3×3' or '1×1'
        Which convolution of a stage's first bottleneck has the stride of 2: the later "v1.5", or
        the paper's.

    Returns
    -------
    Network
        For images of 224×224.

    Raises
    ------
    ValueError
        If depth or stride_on is another, or groups do not divide the channels.

    References
    ----------
    He et al., arXiv:1512.03385, Table 1; Xie et al., arXiv:1611.05431, Table 1.

    Examples
    --------
    >>> resnet(101, stride_on="1×1").multiplies
    7570194432
    """
    repeats = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
    if depth not in repeats:
        raise ValueError(f"depth: must be 50, 101 or 152, got {depth!r}")
    if stride_on not in ("3×3", "1×1"):
        raise ValueError(f"stride_on: must be '3×3' or '1×1', got {stride_on!r}")

    def layers() -> Iterator[Layer]:
        yield _normed("conv1", 64, 7, 2, 3)
        before = "pool1"
        yield Layer(before, "max pool", 0, 3, 2, 1)
        for stage, blocks in enumerate(repeats[depth]):
            for block in range(blocks):
                name = f"conv{stage + 2}_{block + 1}"
                stride = 2 if stage > 0 and block == 0 else 1
                first, second = (1, stride) if stride_on == "3×3" else (stride, 1)
                middle, M = width << stage, 256 << stage
                shortcut = before
                if block == 0:
                    shortcut = f"{name}/shortcut"
                    row = _normed(shortcut, M, 1, stride, inputs=(before,))
                    yield replace(row, relu=False)
                yield _normed(f"{name}/1", middle, 1, first, inputs=(before,))
                yield _normed(f"{name}/2", middle, 3, second, 1, groups=groups)
                yield replace(_normed(f"{name}/3", M), relu=False)
                yield Layer(name, "add", relu=True, inputs=(f"{name}/3", shortcut))
                before = name
        yield Layer("pool5", "global average pool")
        yield Layer("fc", "linear", 1000, bias=True)

    name = f"ResNet-{depth}" if groups == 1 else f"ResNeXt-{depth} {groups}×{width // groups}d"
    return Network(name + ", stride on 1×1" * (stride_on == "1×1"), (3, 224, 224), layers())


def resnet50() -> Network:
    """Return ResNet-50 with its strides on the 3×3 convolutions, as libraries run it.

    Returns
    -------
    Network
        As `resnet`.

    References
    ----------
    He et al., arXiv:1512.03385, Table 1.

    Examples
    --------
    >>> resnet50().parameters
    25557032
    """
    return resnet(50)


def resnext50() -> Network:
    """Return ResNeXt-50 with 32 groups of 4 channels.

    Returns
    -------
    Network
        As `resnet`.

    References
    ----------
    Xie et al., arXiv:1611.05431, Table 1.

    Examples
    --------
    >>> resnext50().parameters
    25028904
    """
    return resnet(50, groups=32, width=128)


def alexnet(groups: int = 2) -> Network:
    """Return AlexNet, whose second, fourth and fifth layers were grouped to fit on two GPUs.

    Parameters
    ----------
    groups : int
        Groups of those layers; 1 for a network that fits on one.

    Returns
    -------
    Network
        For images of 227×227.

    Raises
    ------
    TypeError, ValueError
        If groups do not divide the channels.

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, Figure 2.

    Examples
    --------
    >>> alexnet().parameters, alexnet(groups=1).parameters
    (60965224, 62378344)
    """

    def layers() -> Iterator[Layer]:
        yield _biased("conv1", 96, 11, 4)
        yield Layer("pool1", "max pool", 0, 3, 2)
        yield _biased("conv2", 256, 5, 1, 2, groups=groups)
        yield Layer("pool2", "max pool", 0, 3, 2)
        yield _biased("conv3", 384, 3, 1, 1)
        yield _biased("conv4", 384, 3, 1, 1, groups=groups)
        yield _biased("conv5", 256, 3, 1, 1, groups=groups)
        yield Layer("pool5", "max pool", 0, 3, 2)
        yield Layer("fc6", "linear", 4096, bias=True, relu=True)
        yield Layer("fc7", "linear", 4096, bias=True, relu=True)
        yield Layer("fc8", "linear", 1000, bias=True)

    return Network(f"AlexNet, groups {groups}", (3, 227, 227), layers())


def shufflenet_v1(groups: int = 3) -> Network:
    """Return ShuffleNet 1×: grouped 1×1 convolutions, and shuffles so that channels meet.

    Parameters
    ----------
    groups : 1, 2, 3, 4 or 8
        More groups make room for more channels at the same cost.

    Returns
    -------
    Network
        For images of 224×224.

    Raises
    ------
    ValueError
        If groups is another number.

    References
    ----------
    Zhang et al., arXiv:1707.01083, Table 1.

    Examples
    --------
    >>> shufflenet_v1().rows[-1].input_shapes
    ((960, 1, 1),)
    """
    widths = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
    if groups not in widths:
        raise ValueError(f"groups: must be 1, 2, 3, 4 or 8, got {groups!r}")

    def layers() -> Iterator[Layer]:
        yield _normed("conv1", 24, 3, 2, 1)
        before, C = "pool1", 24
        yield Layer(before, "max pool", 0, 3, 2, 1)
        for stage, blocks in enumerate((4, 8, 4), 2):
            M = widths[groups] << (stage - 2)
            for block in range(blocks):
                name, stride = f"stage{stage}_{block + 1}", 1 if block else 2
                middle, made = M // 4, M if block else M - C
                first = 1 if (stage, block) == (2, 0) else groups  # 24 channels are too few
                yield _normed(f"{name}/1", middle, groups=first, inputs=(before,))
                yield Layer(f"{name}/shuffle", "shuffle", groups=groups)
                row = _normed(f"{name}/dw", middle, 3, stride, 1, groups=middle)
                yield replace(row, relu=False)
                yield replace(_normed(f"{name}/2", made, groups=groups), relu=False)
                if block:
                    yield Layer(name, "add", relu=True, inputs=(f"{name}/2", before))
                else:
                    yield Layer(f"{name}/pool", "average pool", 0, 3, 2, 1, inputs=(before,))
                    inputs = (f"{name}/pool", f"{name}/2")
                    yield Layer(name, "concatenate", relu=True, inputs=inputs)
                before, C = name, M
        yield Layer("pool5", "global average pool")
        yield Layer("fc", "linear", 1000, bias=True)

    return Network(f"ShuffleNet v1, groups {groups}", (3, 224, 224), layers())


def dcgan_generator() -> Network:
    """Return DCGAN's generator: transposed convolutions from 100 numbers to an image of 64×64.

    Returns
    -------
    Network
        With batch normalisation behind all but the last.

    References
    ----------
    Radford, Metz and Chintala, arXiv:1511.06434, Figure 1, with 64 channels at its last but one.

    Examples
    --------
    >>> dcgan_generator().rows[-1].output_shape
    (3, 64, 64)
    """
    layers = [Layer("1", "transposed", 512, 4, norm=True, relu=True)]
    for number, M in enumerate((256, 128, 64), 2):
        layers.append(Layer(f"{number}", "transposed", M, 4, 2, 1, norm=True, relu=True))
    layers.append(Layer("5", "transposed", 3, 4, 2, 1))
    return Network("DCGAN generator", (100, 1, 1), layers)


def fsrcnn(scale: int = 2) -> Network:
    """Return FSRCNN(56, 12, 4): layers at low resolution, and a transposed one that enlarges.

    Parameters
    ----------
    scale : int
        2, 3 or 4 in the paper.

    Returns
    -------
    Network
        For the grey image that becomes 1280×720, or the multiple of `scale` below it.

    Raises
    ------
    TypeError, ValueError
        If scale is no integer of at least 1, or larger than the image.

    References
    ----------
    Dong, Loy and Tang, arXiv:1608.00367, section 3.

    Examples
    --------
    >>> fsrcnn(4).rows[-1].output_shape
    (1, 720, 1280)
    """
    scale = checks.integer("scale", scale, 1)
    layers = [_biased("extract", 56, 5, 1, 2), _biased("shrink", 12)]
    layers += [_biased(f"map{number}", 12, 3, 1, 1) for number in (1, 2, 3, 4)]
    layers.append(_biased("expand", 56))
    end = Layer("enlarge", "transposed", 1, 9, scale, 4, output_padding=scale - 1, bias=True)
    return Network(f"FSRCNN ×{scale}", (1, 720 // scale, 1280 // scale), [*layers, end])


def context_module(channels: int = 21, size: str = "basic", resolution: int = 64) -> Network:
    """Return the context module: dilated convolutions that see 67×67 pixels without pooling.

    Parameters
    ----------
    channels : int
        C: channels of its input and output, one a class.
    size : 'basic' or 'large'
        C channels throughout, or up to 32·C.
    resolution : int
        Height and width of its input.

    Returns
    -------
    Network
        With biases; 64·C² weights where it is basic.

    Raises
    ------
    TypeError, ValueError
        If a number is ill-formed, or size another word.

    References
    ----------
    Yu and Koltun, arXiv:1511.07122, Table 1.

    Examples
    --------
    >>> context_module().weights == 64 * 21**2
    True
    """
    if size not in ("basic", "large"):
        raise ValueError(f"size: must be 'basic' or 'large', got {size!r}")
    channels = checks.integer("channels", channels, 1)
    widths = [1] * 7 if size == "basic" else [2, 2, 4, 8, 16, 32, 32]
    layers = [
        _biased(f"{number}", channels * wide, 3, 1, rate, dilation=rate)
        for number, (wide, rate) in enumerate(zip(widths, (1, 1, 2, 4, 8, 16, 1), strict=True), 1)
    ]
    layers.append(Layer("8", "conv", channels, bias=True))
    name = f"context module, {size}"
    return Network(name, (channels, resolution, resolution), layers)


#: Each network by its name, as a function that makes it.
CATALOGUE: dict[str, Callable[[], Network]] = {
    "mobilenet_v1": mobilenet_v1,
    "conv_mobilenet_v1": partial(mobilenet_v1, separable=False),
    "squeezenet_1.0": squeezenet,
    "squeezenet_1.1": partial(squeezenet, "1.1"),
    "inception_v1": inception_v1,
    "inception_v1_3x3": partial(inception_v1, 3),
    "xception": xception,
    "resnet50": resnet50,
    "resnext50": resnext50,
    "alexnet": alexnet,
    "alexnet_1_group": partial(alexnet, 1),
    "shufflenet_v1": shufflenet_v1,
    "dcgan_generator": dcgan_generator,
    "fsrcnn": fsrcnn,
    "context_module": context_module,
    "context_module_large": partial(context_module, size="large"),
}


def _normed(name: str, M: int, kernel=1, stride=1, padding=0, **options) -> Layer:
    return Layer(name, "conv", M, kernel, stride, padding, norm=True, relu=True, **options)


def _biased(name: str, M: int, kernel=1, stride=1, padding=0, **options) -> Layer:
    return Layer(name, "conv", M, kernel, stride, padding, bias=True, relu=True, **options)


def _pool(name: str) -> Layer:
    return Layer(name, "max pool", 0, 3, 2, ceil=True)
