"""How fast the nine variants are on this machine, beside the libraries that are installed.

Every ratio is measured in one process, with as many threads on either side. Each side has blocks of
calls of its own, in turn, after a pause: both keep a pool of threads, and one that has just run
still spins and slows the other.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np

import jitconv

from . import gradients, jit
from .jit import njit, prange
from .methods import METHODS
from .methods.tiled.registers import BYTES, registers
from .variants import VARIANTS

PEERS = ("torch", "torchvision", "cv2", "scipy")
OURS = {"conv2d", "depthwise", "forward"}  # peers of our own
PIXELS, WIDE = (4, 6) if BYTES == 64 else (6, 2)  # as many sums as registers hold
HEAD = ("layer", "ms", "± %", "GFLOP/s", "peak", "memory", "× direct", "× peer", "peer ms", "peer")


class Contest(NamedTuple):
    """One call to time, and the same work in another library."""

    family: str
    label: str
    call: partial[Any]  # of a convolution, or of its gradients
    size: int  # bytes of input and weights
    peer: str
    peer_call: Callable[[], Any] | None


def blocks(*calls: Callable, seconds: float = 0.25, pause: float = 0.05) -> list[list[float]]:
    """Time calls in blocks of their own, in turn, in three rounds.

    Parameters
    ----------
    *calls : callable
        Each is called twice beforehand.
    seconds : float
        Length of a block; it holds three calls at least.
    pause : float
        Seconds before each block, in which the threads of the one before go to sleep.

    Returns
    -------
    list of list of float
        The median seconds of each call in each round.
    """
    for call in calls * 2:
        call()
    medians: list[list[float]] = [[] for _ in calls]
    for _ in range(3):
        for call, found in zip(calls, medians, strict=True):
            time.sleep(pause)
            times: list[float] = []
            stop = time.perf_counter() + seconds
            while len(times) < 3 or time.perf_counter() < stop:
                begin = time.perf_counter()
                call()
                times.append(time.perf_counter() - begin)
            found.append(statistics.median(times))
    return medians


def ratio(times: list[float], others: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(b / a for a, b in zip(times, others, strict=True))


Layers = list[tuple[dict[str, int], dict[str, Any]]]


def _squares(*sizes: tuple[int, int, int], K: int, N: int = 1, **options: Any) -> Layers:
    """Return layers of (C, M, H), which are H × H pixels, with the same kernel and options."""
    return [({"N": N, "C": C, "M": M, "H": H, "K": K}, options) for C, M, H in sizes]


# The layers of each family: sizes, and options. Further families are standard convolutions.
RESNET = [(64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7)]
OTHERS = [(96, 96, 40), (160, 160, 20), (320, 320, 10)]
OFTEN = [
    *_squares(*RESNET, K=3, padding=1),
    *_squares((3, 64, 224), K=7, stride=2, padding=3),
    *_squares((64, 128, 56), K=3, stride=2, padding=1),
]
LAYERS: dict[str, Layers] = {
    "standard": [
        *OFTEN,
        *(({**sizes, "N": 8}, options) for sizes, options in OFTEN),
        *_squares(*OTHERS, K=3, padding=1),
        *_squares((48, 96, 32), K=3, N=4, padding=1),
        *_squares((64, 96, 33), (1, 1, 1024), K=5, padding=2),
        *_squares((3, 24, 256), (80, 80, 60), K=3, stride=2, padding=1),
    ],
    "few outputs": [
        *_squares((512, 12, 40), (256, 4, 64), (512, 15, 32), K=3, padding=1),
        *_squares((96, 1, 64), K=7, padding=3),
    ],
    "winograd": _squares(*RESNET, *OTHERS, (64, 64, 112), K=3, padding=1, method="winograd"),
    "dilated": [
        layer
        for C, H, rate in [(64, 56, 4), (256, 28, 2), (256, 28, 12), (96, 41, 3), (192, 25, 6)]
        for layer in _squares((C, C, H), K=3, padding=rate, dilation=rate)
    ],
    "transposed": [
        *_squares((64, 32, 56), (256, 128, 14), K=4, stride=2, padding=1),
        *_squares((128, 64, 28), K=3, stride=2, padding=1),
        *_squares((64, 32, 56), K=2, stride=2),
    ],
    "separable": [
        ({"C": 1, "H": H, "K": K}, {"padding": "same"})
        for H in (512, 1024, 2048)
        for K in (3, 5, 9)
    ],
    "depthwise": [
        *_squares((32, 32, 112), (128, 128, 56), (512, 512, 14), (1024, 1024, 7), K=3, padding=1),
        *_squares((64, 64, 112), (96, 96, 80), K=3, stride=2, padding=1),
        *_squares((240, 240, 28), (672, 672, 14), K=5, padding=2),
        *_squares((96, 96, 56), (192, 192, 28), K=7, padding=3),
    ],
    "depthwise separable": _squares((64, 128, 56), (512, 512, 14), (128, 256, 112), K=3, padding=1),
    "pointwise": [
        *_squares((64, 128, 56), (256, 64, 56), (512, 512, 14), (1024, 1024, 7), K=1),
        *_squares((96, 192, 40), (320, 80, 40), (960, 160, 7), K=1),
        *_squares((640, 320, 12), K=1, N=2),
    ],
    "grouped": [
        *_squares((128, 128, 56), (256, 256, 28), (512, 512, 14), K=3, padding=1, groups=32),
        *_squares((64, 64, 56), K=3, padding=1, groups=2),
        *_squares((96, 96, 40), K=3, padding=1, groups=3),
        *_squares((240, 240, 14), K=3, padding=1, groups=8),
    ],
    "deformable": _squares((64, 64, 56), (256, 256, 14), K=3, padding=1),
}
BACKWARD = ("standard", "dilated", "pointwise", "grouped", "depthwise", "transposed", "deformable")


def layers(installed: Set[str], only: str | None = None) -> Iterator[Contest]:
    """Yield every layer of the benchmark, or those of one family; weights and images are random."""
    equal_threads(installed)
    for family in dict.fromkeys([*VARIANTS, *LAYERS]):
        if only not in (None, family) or (family == "winograd" and family not in METHODS):
            continue
        name = family if family in VARIANTS else "standard"
        default = _squares((64, 64, 56), K=3, **VARIANTS[name].options)
        for sizes, options in LAYERS.get(family, default):
            yield from contests(family, name, sizes, options, installed)
    for name in BACKWARD:
        if only in (None, f"{name} backward"):
            for sizes, options in LAYERS.get(name, ()):
                yield from map(backward, contests(name, name, sizes, options, installed))


def equal_threads(installed: Set[str]) -> None:
    """Give the peers as many threads as the loops have."""
    if "torch" in installed:
        import torch

        torch.set_num_threads(numba.get_num_threads())
        torch.set_grad_enabled(False)
    if "cv2" in installed:
        import cv2

        cv2.setNumThreads(numba.get_num_threads())


def contests(
    family: str, name: str, sizes: dict[str, int], options: dict[str, Any], installed: Set[str]
) -> Iterator[Contest]:
    """Yield one layer beside each of its peers that is installed, or beside none."""
    rng, variant = np.random.default_rng(0), VARIANTS[name]
    K, H = sizes["K"], sizes["H"]
    steps = {word: value for word, value in options.items() if word != "method"}
    follow = {"W": H, "B": sizes["C"], "g": options.get("groups", 1), "KH": K, "KW": K}
    found = variant.shapes({**follow, **sizes}, **steps)
    arrays = [rng.standard_normal(found[n], dtype=np.float32) for n in variant.needed]
    call = partial(variant.function, *arrays, **options)
    letters = {
        "s": options.get("stride", 1),
        "d": options.get("dilation", 1),
        "g": options.get("groups", 1),
        "N": sizes.get("N", 1),
    }
    words = [f"{letter}{value}" for letter, value in letters.items() if value != 1]
    channels = f"{sizes['C']}→{sizes['M']} " if "M" in sizes else ""
    pixels = f"{H}²" if sizes.get("W", H) == H else f"{H}×{sizes['W']}"
    label = " ".join([f"{channels}{pixels} k{K}", *words])
    size = sum(array.nbytes for array in arrays)
    peers = PEERS_OF.get(name, {"peer": None})
    ready = {peer: make for peer, make in peers.items() if peer in installed | OURS}
    for peer, make in (ready or dict.fromkeys([*peers][:1])).items():
        if peer != "depthwise" or K == 3:  # where two passes save least
            other = make(*arrays, **steps) if make is not None else None
            yield Contest(family, label, call, size, peer, other)


def backward(layer: Contest) -> Contest:
    """Turn a layer around: its arrays' gradients, beside autograd's or its own forward pass."""
    forward, other = layer.call, layer.peer_call
    dy = np.random.default_rng(1).standard_normal(forward().output.shape, dtype=np.float32)
    needs = [*inspect.signature(forward.func).parameters][: len(forward.args)]
    gradient = getattr(gradients, forward.func.__name__, gradients.conv2d)  # of standard_conv2d
    call = partial(gradient, dy, *forward.args, **forward.keywords, needs=needs)
    peer = layer.peer
    if peer == "conv2d":
        peer, other = "forward", forward
    elif isinstance(other, partial):
        other = _autograd(other, dy)
    size = layer.size + dy.nbytes
    return Contest(f"{layer.family} backward", layer.label, call, size, peer, other)


def _autograd(forward: partial[Any], dy: np.ndarray) -> Callable[[], Any]:
    import torch

    with torch.enable_grad():
        tensors = [tensor.requires_grad_() for tensor in forward.args]
        y = forward()
    return partial(torch.autograd.grad, y, tensors, torch.from_numpy(dy), retain_graph=True)


def drawn(count: int, installed: Set[str]) -> Iterator[Contest]:
    """Yield random layers, the same in each run, of about 1 to 300 million multiplies each."""
    equal_threads(installed)
    rng = np.random.default_rng(0)
    names = ("standard", "dilated", "grouped", "pointwise", "depthwise", "transposed")
    while count > 0:
        name, (stride, K) = str(rng.choice(names)), rng.integers(1, (3, 8)).tolist()
        N, C, M, H, W = (2 ** rng.uniform((0, 0, 0, 2, 2), (3, 10, 10, 9, 9))).astype(int).tolist()
        K, g, rate = 1 if name == "pointwise" else K, 1, 1
        options: dict[str, Any] = {"stride": stride}
        if name == "dilated":
            rate = options["dilation"] = int(rng.integers(2, 7))
        elif name == "grouped":
            g = options["groups"] = int(rng.choice([2, 3, 8, 32]))
            C, M = -(-C // g) * g, -(-M // g) * g
        elif name == "depthwise":
            g, M = C, C
        reach = rate * (K - 1) + 1
        if name != "pointwise":  # as torch has it: 'same' without stride, words not for transposed
            kinds = [(reach - 1) // 2, tuple(rng.integers(0, reach, 2).tolist()), "valid", "same"]
            some = 2 if name == "transposed" else 5 - stride
            options["padding"] = kinds[rng.integers(some)]
        multiplies = N * C * M // g * K**2 * H * W // (1 if name == "transposed" else stride**2)
        numbers = N * max(C, M) * H * W
        if reach <= min(H, W) and 1e6 <= multiplies <= 3e8 and numbers <= 2**24:
            sizes = {"N": N, "C": C, "M": M, "H": H, "W": W, "K": K}
            for layer in contests(name, name, sizes, options, installed):
                yield layer._replace(label=f"{layer.label} p{options.get('padding', 0)}")
            count -= 1


def sweep(count: int, installed: Set[str]) -> Iterator[str]:
    """Yield what random layers show: means, and the worst beside the peer and the direct loops."""
    rows: list[dict[str, Any]] = []
    for layer in drawn(count, installed):
        layer.call().report.verify()
        peers = {layer.peer: layer.peer_call, "direct": partial(layer.call, method="direct")}
        calls = {peer: call for peer, call in peers.items() if call}
        times, *others = blocks(layer.call, *calls.values(), seconds=0.05, pause=0.02)
        for peer, spent in zip(calls, others, strict=True):
            found = {"variant": layer.family, "layer": layer.label, "peer": peer}
            rows.append({**found, "ratio": ratio(times, spent)})
    for name, value in summary(sorted(rows, key=lambda row: (row["peer"], row["variant"]))):
        yield f"{name:56} {value}"
    for peer in dict.fromkeys(row["peer"] for row in rows):
        worst = sorted((row for row in rows if row["peer"] == peer), key=lambda row: row["ratio"])
        yield f"\nthe worst against {peer}, of {len(worst)}"
        yield from (f"{row['ratio']:8.2f}  {row['variant']} {row['layer']}" for row in worst[:10])


def _torch(function: str, **fixed: Any) -> Callable[..., Callable[[], Any]]:
    def make(*arrays: np.ndarray, **options: Any) -> Callable[[], Any]:
        import torch

        tensors = map(torch.from_numpy, arrays)
        return partial(getattr(torch.nn.functional, function), *tensors, **options, **fixed)

    return make


def _torch_depthwise(x: np.ndarray, weight: np.ndarray, **options: Any) -> Callable[[], Any]:
    return _torch("conv2d")(x, weight, groups=x.shape[1], **options)


def _torch_depthwise_separable(*arrays: np.ndarray, **options: Any) -> Callable[[], Any]:
    import torch
    from torch.nn.functional import conv2d

    x, deep, point = map(torch.from_numpy, arrays)
    return lambda: conv2d(conv2d(x, deep, groups=x.shape[1], **options), point)


def _cv2_separable(
    x: np.ndarray, column: np.ndarray, row: np.ndarray, padding: str
) -> Callable[[], Any]:
    import cv2

    options = {"borderType": cv2.BORDER_CONSTANT}
    return partial(cv2.sepFilter2D, x[0, 0], -1, row, column, **options)


def _scipy_separable(
    x: np.ndarray, column: np.ndarray, row: np.ndarray, padding: str
) -> Callable[[], Any]:
    from scipy.ndimage import correlate1d

    zeros = partial(correlate1d, mode="constant")
    return lambda: zeros(zeros(x[0, 0], column, 0), row, 1)


def _two_dimensional(
    x: np.ndarray, column: np.ndarray, row: np.ndarray, **options: Any
) -> Callable[[], Any]:
    weight = np.tile(np.outer(column, row), (x.shape[1], 1, 1, 1))
    return partial(jitconv.depthwise_conv2d, x, weight, **options)


def _torchvision(
    x: np.ndarray, offset: np.ndarray, weight: np.ndarray, **options: Any
) -> Callable[[], Any]:
    import torch
    from torchvision.ops import deform_conv2d

    return partial(deform_conv2d, *map(torch.from_numpy, (x, offset, weight)), **options)


def _without_offsets(
    x: np.ndarray, offset: np.ndarray, weight: np.ndarray, **options: Any
) -> Callable[[], Any]:
    return partial(jitconv.conv2d, x, weight, **options)


# Of each variant the libraries that do the same, and how to make a call of theirs.
PEERS_OF: dict[str, dict[str, Callable[..., Callable[[], Any]] | None]] = {
    "standard": {"torch": _torch("conv2d")},
    "dilated": {"torch": _torch("conv2d")},
    "pointwise": {"torch": _torch("conv2d")},
    "grouped": {"torch": _torch("conv2d")},
    "transposed": {"torch": _torch("conv_transpose2d")},
    "separable": {
        "cv2": _cv2_separable,
        "scipy": _scipy_separable,
        "depthwise": _two_dimensional,
    },
    "depthwise": {"torch": _torch_depthwise},
    "depthwise separable": {"torch": _torch_depthwise_separable},
    "deformable": {"conv2d": _without_offsets, "torchvision": _torchvision},
}


@njit
def spin(x, rounds):
    # nothing but multiplies and adds in registers
    acc = registers(x, PIXELS, WIDE)
    for j in range(acc.shape[1]):
        for i in range(PIXELS):
            acc[i, j] = x[i]
    multiplies = 0
    for r in range(rounds):
        w = x[r % 8]
        for j in range(acc.shape[1]):
            for i in range(PIXELS):
                acc[i, j] = acc[i, j] * w + w
                multiplies += 1
    total = 0.0
    for i in range(PIXELS):
        for j in range(acc.shape[1]):
            total += acc[i, j]
    return multiplies, total


@njit(parallel=True)
def fma_loops(x, rounds, counts, totals):
    for job in prange(counts.size):
        counts[job], totals[job] = spin(x, rounds)


@njit(parallel=True)
def copy_loops(x, y):
    for job in prange(x.shape[0]):
        source, target = x[job], y[job]
        for i in range(source.size):
            target[i] = source[i]


def machine() -> tuple[float, float]:
    """Measure the FMA peak in GFLOP/s and the bandwidth of a copy in GB/s."""
    counts = np.zeros(numba.get_num_threads(), np.int64)
    small = np.full(8, 1e-9, np.float32)
    call = partial(fma_loops, small, 200_000, counts, np.empty(counts.size))
    (times,) = blocks(call)
    peak = 2e-9 * counts.sum() / min(times)
    x = np.ones((64, 2**20), np.float32)
    y = np.empty_like(x)
    (times,) = blocks(partial(copy_loops, x, y))
    return float(peak), 2e-9 * x.nbytes / min(times)


def row(layer: Contest, peak: float, bandwidth: float) -> dict[str, Any]:
    """Time one layer and its peer, and check its counts."""
    made, report = layer.call()
    report.verify()
    # of what must be moved at least: backward, dy comes in, and gradients go out
    size = layer.size + sum(
        a.nbytes for a in (made if isinstance(made, tuple) else [made]) if a is not None
    )
    times, *others = blocks(layer.call, *filter(None, [layer.peer_call]))
    middle = statistics.median(times)
    found: dict[str, Any] = {
        "variant": layer.family,
        "layer": layer.label,
        "method": report.method,
        "multiplies": report.multiplies,
        "dense": int(report.value("dense")),
        "seconds": middle,
        "spread": (max(times) - min(times)) / middle,
        "gflops": 1e-9 * report.flops / middle,
        "of_peak": 1e-9 * report.flops / middle / peak,
        "of_bandwidth": 1e-9 * size / middle / bandwidth,
        "intensity": report.multiplies / size,
        "direct_ratio": None,
        "peer": layer.peer,
        "peer_seconds": None,
        "ratio": None,
    }
    if report.method == "tiled":
        direct = partial(layer.call, method="direct")
        found["direct_ratio"] = ratio(*blocks(layer.call, direct, seconds=0.05))
    if others:
        found["peer_seconds"] = statistics.median(others[0])
        found["ratio"] = ratio(times, others[0])
    return found


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    """Return a measured layer as text."""
    peer = found["ratio"] is not None
    return (
        f"{found['variant']} {found['layer']}",
        f"{1e3 * found['seconds']:.3f}",
        f"{50 * found['spread']:.0f}",
        f"{found['gflops']:.1f}",
        f"{found['of_peak']:.0%}",
        f"{found['of_bandwidth']:.0%}",
        f"{found['direct_ratio']:.1f}" if found["direct_ratio"] else "–",
        f"{found['ratio']:.2f}" if peer else "–",
        f"{1e3 * found['peer_seconds']:.3f}" if peer else "–",
        found["peer"] if peer else f"no {found['peer']}",
    )


def summary(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the geometric mean and the least ratio of each variant and peer."""
    for variant, peer in dict.fromkeys((r["variant"], r["peer"]) for r in rows):
        ratios = [
            r["ratio"]
            for r in rows
            if (r["variant"], r["peer"]) == (variant, peer) and r["ratio"] is not None
        ]
        if ratios:
            yield (
                f"{variant} against {peer}",
                f"{statistics.geometric_mean(ratios):.2f}, least {min(ratios):.2f}",
            )


def further() -> Iterator[tuple[str, str]]:
    """Yield what a table of layers does not show: overheads, scaling, memory, first calls."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(s, dtype=np.float32) for s in ((64, 56, 56), (64, 64, 3, 3)))
    big = partial(jitconv.conv2d, x, weight, padding=1)
    small = partial(jitconv.conv2d, x[:8, :32, :32].copy(), weight[:8, :8].copy(), padding=1)
    least = partial(jitconv.conv2d, x[:1, :1, :1], weight[:1, :1, :1, :1])
    for what, call in (("3×3 on 8→8 32²", small), ("one multiply", least)):
        yield f"one call, {what}", f"{1e6 * statistics.median(*blocks(call)):.0f} µs"
    for size in (64, 256, 1024, 4096):
        image = rng.standard_normal((3, size, size), dtype=np.float32)
        call = partial(jitconv.conv2d, image, weight[:16, :3], padding=1)
        picoseconds = 1e12 * statistics.median(*blocks(call)) / call().report.multiplies
        yield f"a multiply of 3→16 {size}² k3", f"{picoseconds:.1f} ps"
    threads = numba.get_num_threads()
    if threads > 1:

        def alone():
            numba.set_num_threads(1)
            try:
                return big()
            finally:
                numba.set_num_threads(threads)

        yield f"{threads} threads against 1, 64→64 56² k3", f"{ratio(*blocks(big, alone)):.2f} ×"
    if "torch" in installed():
        yield from whole_models()
    yield from memory(
        (64, 64, (224, 224), 1),
        (512, 512, (7, 7), 1),
        (64, 64, (224, 224), 64),
        (2048, 4, (4, 4096), 1),
    )
    yield from first_calls()


def whole_models() -> Iterator[tuple[str, str]]:
    """Yield what measuring a model takes of the model's own time in torch, without comparison."""
    import torch

    from .models import examples

    equal_threads(installed())
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32))
    for build in (examples.resnet50, examples.mobilenet_v2, examples.efficientnet_b0):
        model = build().eval()
        with torch.no_grad():
            measured = partial(jitconv.measure, model, x, compare=False)
            times, own = blocks(measured, partial(model, x), seconds=1)
        found = f"{ratio(own, times):.2f} × its {1e3 * statistics.median(own):.1f} ms in torch"
        yield f"measuring {build.__name__}, 224²", found


MEMORY = """
import sys, numpy as np, jitconv
C, M, H, W, g = map(int, sys.argv[1:])
x, weight = np.ones((C, H, W), np.float32), np.ones((M, C // g, 3, 3), np.float32)
jitconv.conv2d(x[:, :1, :1], weight[:, :, :1, :1], groups=g)  # compiles, and keeps no memory
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = status("VmRSS")
y, _ = jitconv.conv2d(x, weight, padding=1, groups=g)
print((status("VmHWM") - before) / 1024 - y.nbytes / 2**20)
"""
FIRST = """
import time
begin = time.perf_counter()
import numpy as np, jitconv
jitconv.conv2d(np.ones((64, 9, 9), np.float32), np.ones((64, 64, 3, 3), np.float32), padding=1)
print(time.perf_counter() - begin)
"""


SCENE = """
import sys, time
import dask, dask.array as da, numpy as np, zarr
import jitconv
from jitconv import blockwise
how, folder, size, chunk = *sys.argv[1:3], *map(int, sys.argv[3:])
weight, chunks = np.ones((1, 1, 5, 5), np.float32), (1, chunk, chunk)
def peak():  # megabytes
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
def filtered(x, path):
    y, report = blockwise.conv2d(x, weight, padding="same")
    return dask.compute(y.to_zarr(path, compute=False), report)[1]
def timed(run):
    image = da.from_zarr(folder + "/x")
    filtered(image[:, :512, :512].rechunk(64), folder + "/small" + how)  # loads all that it takes
    begin = time.perf_counter()
    report = run(image)
    seconds = time.perf_counter() - begin
    report.verify()
    return seconds
def in_memory(image):
    y, report = jitconv.conv2d(zarr.open_array(folder + "/x")[:], weight, padding="same")
    zarr.create_array(folder + "/memory", data=y, chunks=chunks)
    return report
def by_blocks(image):
    return filtered(image, folder + "/" + how)
if how == "x":
    image = da.random.default_rng(0).random((1, size, size), dtype=np.float32, chunks=chunks)
    image.to_zarr(folder + "/x")
elif how in ("processes", "keeping"):
    from distributed import Client, LocalCluster
    if how == "keeping":  # what glibc does by itself, and Dask's workers do not
        place = "distributed.nanny.pre-spawn-environ.MALLOC_"
        dask.config.set({place + "TRIM_THRESHOLD_": 2**26, place + "MMAP_THRESHOLD_": 2**25})
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            print(timed(by_blocks), sum(client.run(peak).values()))
else:
    with dask.config.set(num_workers=2):
        print(timed(in_memory if how == "memory" else by_blocks), peak())
"""


def scenes(size: int, chunk: int = 2000) -> Iterator[tuple[str, str]]:
    """Yield the time and the peak memory of images that are read from Zarr, filtered and written.

    Whole, by two threads of Dask, and by two processes; of a quarter of this size, half and all.
    """
    for name in ("dask.array", "zarr"):  # which the other processes need
        importlib.import_module(name)
    ways = {
        "memory": "whole in memory",
        "threads": "two threads",
        "processes": "two processes",
        "keeping": "two processes that keep memory",
    }
    for pixels in (size // 4, size // 2, size):
        with tempfile.TemporaryDirectory() as folder:
            for how in ("x", *ways):
                more = {"MALLOC_ARENA_MAX": "1"} if how == "threads" else {}
                os.sync()  # what was written before is not to be written now
                done = subprocess.run(
                    [sys.executable, "-c", SCENE, how, folder, str(pixels), str(chunk)],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    env={**os.environ, **more},
                )
                if how != "x":
                    seconds, megabytes = map(float, done.stdout.split())
                    yield f"{pixels}² {ways[how]}", f"{seconds:.2f} s, {megabytes:,.0f} MB"
                    shutil.rmtree(f"{folder}/{how}")


def memory(*layers: tuple[int, int, tuple[int, int], int]) -> Iterator[tuple[str, str]]:
    """Yield the peak memory of a call beyond its inputs and output, in a process of its own."""
    if not os.path.exists("/proc/self/clear_refs"):
        return
    for C, M, (H, W), groups in layers:
        command = [sys.executable, "-c", MEMORY, *map(str, (C, M, H, W, groups))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        label = f"memory beyond input, weight, output, {C}→{M} {H}×{W} k3 g{groups}"
        yield label, f"{max(0, float(done.stdout)):.1f} MiB"


def first_calls() -> Iterator[tuple[str, str]]:
    """Yield how long a new process takes to its first result, import included."""
    with tempfile.TemporaryDirectory() as cache:
        for state in ("empty", "warm"):
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
            command = [sys.executable, "-c", FIRST]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            yield f"import and first call, {state} cache", f"{float(done.stdout):.1f} s"


@functools.cache
def installed() -> frozenset[str]:
    """Return which peers can be imported."""
    found = set()
    for name in PEERS:
        # torchvision raises RuntimeError beside a torch that it was not built for
        with contextlib.suppress(ImportError, RuntimeError):
            importlib.import_module(name)
            found.add(name)
    return frozenset(found)


def header(peak: float, bandwidth: float) -> str:
    """Return what was measured on."""
    missing = [name for name in PEERS if name not in installed()]
    return (
        f"{jit.info()['processor']}, {numba.get_num_threads()} threads, vectors of {BYTES} "
        f"bytes; measured: FMA peak {peak:.0f} GFLOP/s, copy {bandwidth:.1f} GB/s"
        + (f"; not installed: {', '.join(missing)}" if missing else "")
    )
