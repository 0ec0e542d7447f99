"""Three networks in `torch.nn` to try `measure` on; their weights are random.

``python -m jitconv measure jitconv.models.examples:mobilenet_v2 --input 1x3x224x224``
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def resnet50() -> nn.Module:
    """Return ResNet-50, with the stride in the 3×3 layers.

    References
    ----------
    He et al., arXiv:1512.03385, table 1.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in resnet50().parameters())
    25557032
    """
    layers = [_conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    C = 64
    for width, count, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        blocks: list[nn.Module] = []
        for stride in [first] + [1] * (count - 1):
            body = [_conv(C, width, 1), _conv(width, width, 3, stride)]
            body += [_conv(width, 4 * width, 1, act=None)]
            shortcut = _conv(C, 4 * width, 1, stride, act=None) if len(blocks) == 0 else None
            blocks.append(Residual(nn.Sequential(*body), shortcut, nn.ReLU(inplace=True)))
            C = 4 * width
        layers.append(nn.Sequential(*blocks))
    return nn.Sequential(*layers, *_head(C))


def mobilenet_v2() -> nn.Module:
    """Return MobileNetV2.

    References
    ----------
    Sandler et al., arXiv:1801.04381, table 2.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in mobilenet_v2().parameters())
    3504872
    """
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    table += [(6, 160, 3, 2), (6, 320, 1, 1)]
    blocks, C = [], 32
    for wider, M, count, first in table:
        for stride in [first] + [1] * (count - 1):
            blocks.append(_inverted(C, M, 3, stride, wider, nn.ReLU6, squeezed=False))
            C = M
    stem, last = _conv(3, 32, 3, 2, act=nn.ReLU6), _conv(C, 1280, 1, act=nn.ReLU6)
    return nn.Sequential(stem, *blocks, last, *_head(1280))


def efficientnet_b0() -> nn.Module:
    """Return EfficientNet-B0.

    References
    ----------
    Tan and Le, arXiv:1905.11946, table 1.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in efficientnet_b0().parameters())
    5288548
    """
    table = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)]
    table += [(6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
    blocks, C = [], 32
    for wider, M, count, first, K in table:
        for stride in [first] + [1] * (count - 1):
            blocks.append(_inverted(C, M, K, stride, wider, nn.SiLU, squeezed=True))
            C = M
    stem, last = _conv(3, 32, 3, 2, act=nn.SiLU), _conv(C, 1280, 1, act=nn.SiLU)
    return nn.Sequential(stem, *blocks, last, *_head(1280))


class Residual(nn.Module):
    """What a body makes of its input, and the input added."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None
    ):
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut or nn.Identity(), act or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        return self.act(self.body(x) + self.shortcut(x))


class Squeezed(nn.Module):
    """Channels weighted by what two pointwise layers make of their means.

    References
    ----------
    Hu et al., arXiv:1709.01507.
    """

    def __init__(self, C: int, between: int):
        super().__init__()
        pair = nn.Conv2d(C, between, 1), nn.SiLU(), nn.Conv2d(between, C, 1), nn.Sigmoid()
        self.weights = nn.Sequential(nn.AdaptiveAvgPool2d(1), *pair)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels, weighted."""
        return x * self.weights(x)


def _conv(
    C: int, M: int, K: int, stride: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> nn.Sequential:
    layer = nn.Conv2d(C, M, K, stride, K // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(M), *([act(inplace=True)] if act else []))


def _inverted(
    C: int, M: int, K: int, stride: int, wider: int, act: Any, squeezed: bool
) -> nn.Module:
    wide = C * wider
    body: list[nn.Module] = [_conv(C, wide, 1, act=act)] if wider > 1 else []
    body.append(_conv(wide, wide, K, stride, groups=wide, act=act))
    if squeezed:
        body.append(Squeezed(wide, C // 4))
    body.append(_conv(wide, M, 1, act=None))
    made = nn.Sequential(*body)
    return Residual(made) if stride == 1 and C == M else made


def _head(C: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 1000)
