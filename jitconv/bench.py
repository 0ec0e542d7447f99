"""How fast the nine variants are on this machine, beside the libraries that are installed.

Every ratio is measured in one process, the two calls in turn, with as many threads each.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np

import jitconv

from . import jit
from .costs.report import ConvResult
from .jit import njit, prange
from .methods.tiled.registers import BYTES, registers
PIXELS, WIDE = 8, 2
from .variants import VARIANTS

PEERS = ("torch", "cv2", "scipy")
HEAD = ("layer", "ms", "± %", "GFLOP/s", "peak", "memory", "× direct", "× peer", "peer ms", "peer")


class Contest(NamedTuple):
    """One call to time, and the same work in another library."""

    variant: str
    label: str
    call: Callable[..., ConvResult]
    size: int  # bytes of input and weights
    peer: str
    peer_call: Callable[[], Any] | None


def pair(call: Callable, other: Callable | None, seconds: float = 0.6) -> tuple[list, list]:
    """Time two calls in turn, A B A B, after warming both up; return all times in seconds."""
    both = [call] if other is None else [call, other]
    for function in both * 2:
        function()
    times: list[list[float]] = [[], []]
    stop = time.perf_counter() + seconds * len(both)
    while len(times[0]) < 7 or (time.perf_counter() < stop and len(times[0]) < 200):
        for function, spent in zip(both, times, strict=False):
            begin = time.perf_counter()
            function()
            spent.append(time.perf_counter() - begin)
    return times[0], times[1]


# The layers of each variant: sizes, and options. A variant that is not named here has the default.
DEFAULT = [({"C": 64, "M": 64, "H": 56, "K": 3}, {"padding": 1})]
SQUARES = [(64, 56), (128, 28), (256, 14), (512, 7)]
LAYERS: dict[str, list[tuple[dict[str, int], dict[str, Any]]]] = {
    "standard": [
        *(
            layer
            for N in (1, 8)
            for layer in [
                *(({"N": N, "C": C, "M": C, "H": H, "K": 3}, {"padding": 1}) for C, H in SQUARES),
                ({"N": N, "C": 3, "M": 64, "H": 224, "K": 7}, {"stride": 2, "padding": 3}),
                ({"N": N, "C": 64, "M": 128, "H": 56, "K": 3}, {"stride": 2, "padding": 1}),
            ]
        ),
        ({"C": 1, "M": 1, "H": 1024, "K": 5}, {"padding": 2}),
    ],
    "dilated": [
        ({"C": C, "M": C, "H": H, "K": 3}, {"padding": rate, "dilation": rate})
        for C, H, rate in [(64, 56, 4), (256, 28, 2), (256, 28, 12)]
    ],
    "transposed": [
        ({"C": C, "M": M, "H": H, "K": K}, {"stride": 2, "padding": 1})
        for C, M, H, K in [(64, 32, 56, 4), (256, 128, 14, 4), (128, 64, 28, 3)]
    ],
    "separable": [
        ({"C": 1, "H": H, "K": K}, {"padding": "same"})
        for H in (512, 1024, 2048)
        for K in (3, 5, 9)
    ],
    "depthwise": [
        ({"C": C, "M": C, "H": H, "K": K}, {"stride": stride, "padding": K // 2})
        for C, H, K, stride in [
            (32, 112, 3, 1),
            (64, 112, 3, 2),
            (128, 56, 3, 1),
            (512, 14, 3, 1),
            (1024, 7, 3, 1),
            (96, 56, 7, 1),
        ]
    ],
    "depthwise separable": [
        ({"C": C, "B": C, "M": M, "H": H, "K": 3}, {"padding": 1})
        for C, M, H in [(64, 128, 56), (512, 512, 14)]
    ],
    "pointwise": [
        ({"C": C, "M": M, "H": H, "K": 1}, {})
        for C, M, H in [(64, 128, 56), (256, 64, 56), (512, 512, 14), (1024, 1024, 7)]
    ],
    "grouped": [
        ({"C": C, "M": C, "H": H, "K": 3, "g": g}, {"padding": 1, "groups": g})
        for C, H, g in [(128, 56, 32), (512, 14, 32), (64, 56, 2)]
    ],
    "deformable": [
        ({"C": C, "M": C, "H": H, "K": 3}, {"padding": 1}) for C, H in [(64, 56), (256, 14)]
    ],
}


def layers(installed: set[str]) -> Iterator[Contest]:
    """Yield every layer of the benchmark; weights and images are random."""
    rng = np.random.default_rng(0)
    if "torch" in installed:
        import torch

        torch.set_num_threads(numba.get_num_threads())
        torch.set_grad_enabled(False)
    if "cv2" in installed:
        import cv2

        cv2.setNumThreads(numba.get_num_threads())
    for name, variant in VARIANTS.items():
        for sizes, options in LAYERS.get(name, DEFAULT):
            K, H = sizes["K"], sizes["H"]
            found = variant.shapes({**sizes, "W": H, "KH": K, "KW": K}, **options)
            arrays = [rng.standard_normal(found[n], dtype=np.float32) for n in variant.needed]
            call = partial(variant.function, *arrays, **options)
            channels = f"{sizes['C']}→{sizes['M']} " if "M" in sizes else ""
            letters = {
                "s": options.get("stride", 1),
                "d": options.get("dilation", 1),
                "g": options.get("groups", 1),
                "N": sizes.get("N", 1),
            }
            words = [f"{letter}{value}" for letter, value in letters.items() if value > 1]
            label = " ".join([f"{channels}{H}² k{K}", *words])
            size = sum(array.nbytes for array in arrays)
            peers = PEERS_OF.get(name, {"peer": None})
            ready = {peer: make for peer, make in peers.items() if peer in installed | {"conv2d"}}
            for peer, make in (ready or dict.fromkeys([*peers][:1])).items():
                other = make(*arrays, **options) if make is not None else None
                yield Contest(name, label, call, size, peer, other)


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

    return lambda: correlate1d(correlate1d(x[0, 0], column, 0), row, 1)


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
    "separable": {"cv2": _cv2_separable, "scipy": _scipy_separable},
    "depthwise": {"torch": _torch_depthwise},
    "depthwise separable": {"torch": _torch_depthwise_separable},
    "deformable": {"conv2d": _without_offsets},
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
    times, _ = pair(partial(fma_loops, small, 200_000, counts, np.empty(counts.size)), None)
    peak = 2e-9 * counts.sum() / min(times)
    x = np.ones((64, 2**20), np.float32)
    y = np.empty_like(x)
    times, _ = pair(partial(copy_loops, x, y), None)
    return float(peak), 2e-9 * x.nbytes / min(times)


def row(layer: Contest, peak: float, bandwidth: float) -> dict[str, Any]:
    """Time one layer and its peer, and check its counts."""
    y, report = layer.call()
    report.verify()
    size = layer.size + y.nbytes  # of what must be moved at least
    times, others = pair(layer.call, layer.peer_call)
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    found: dict[str, Any] = {
        "variant": layer.variant,
        "layer": layer.label,
        "method": report.method,
        "multiplies": report.multiplies,
        "dense": int(report.value("dense")),
        "seconds": middle,
        "spread": (high - low) / middle,
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
        tiled, direct = pair(layer.call, partial(layer.call, method="direct"), seconds=0.1)
        found["direct_ratio"] = statistics.median(direct) / statistics.median(tiled)
    if others:
        ratios = [b / a for a, b in zip(times, others, strict=True)]
        found["peer_seconds"] = statistics.median(others)
        found["ratio"] = statistics.median(ratios)
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
    small = partial(jitconv.conv2d, x[:8, :32, :32], weight[:8, :8], padding=1)
    times, _ = pair(small, None)
    yield "one call, 3×3 on 8→8 32²", f"{1e6 * statistics.median(times):.0f} µs"
    times, _ = pair(partial(jitconv.conv2d, x[:1, :1, :1], weight[:1, :1, :1, :1]), None)
    yield "one call that does one multiply", f"{1e6 * statistics.median(times):.0f} µs"
    for size in (64, 256, 1024, 4096):
        image = rng.standard_normal((3, size, size), dtype=np.float32)
        call = partial(jitconv.conv2d, image, weight[:16, :3], padding=1)
        times, _ = pair(call, None)
        picoseconds = 1e12 * statistics.median(times) / call().report.multiplies
        yield f"a multiply of 3→16 {size}² k3", f"{picoseconds:.1f} ps"
    threads = numba.get_num_threads()
    if threads > 1:

        def alone():
            numba.set_num_threads(1)
            try:
                return big()
            finally:
                numba.set_num_threads(threads)

        together, single = pair(big, alone)
        ratio = statistics.median(b / a for a, b in zip(together, single, strict=True))
        yield f"{threads} threads against 1, 64→64 56² k3", f"{ratio:.2f} ×"
    yield from memory(
        (64, 64, (224, 224), 1),
        (512, 512, (7, 7), 1),
        (64, 64, (224, 224), 64),
        (2048, 4, (4, 4096), 1),
    )
    yield from first_calls()


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


def installed() -> set[str]:
    """Return which peers can be imported."""
    return {name for name in PEERS if importlib.util.find_spec(name)}


def header(peak: float, bandwidth: float) -> str:
    """Return what was measured on."""
    missing = [name for name in PEERS if name not in installed()]
    return (
        f"{jit.info()['processor']}, {numba.get_num_threads()} threads, vectors of {BYTES} "
        f"bytes; measured: FMA peak {peak:.0f} GFLOP/s, copy {bandwidth:.1f} GB/s"
        + (f"; not installed: {', '.join(missing)}" if missing else "")
    )
