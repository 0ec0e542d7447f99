"""A column pass and a row pass, each a run over a line: separable convolutions.

The column pass reads rows of the image as they are and leaves a line of sums, which the row pass
reads while it is in the nearest cache. In both, a tap meets its line as one run of memory, some
numbers from where the tap before it does, and the sums stay in registers over all taps.
"""

from __future__ import annotations

import numpy as np

from ...call import Separated, empty
from ...costs.report import Pass
from ...jit import get_num_threads, njit
from .registers import aligned, registers

VECTORS = 8  # of sums, which LLVM keeps in registers


@njit
def run(lines, shifts, weight, sums, at, count):
    # lines flat: sum p of `count` meets tap r at shifts[r] + p; filled: sums flat, from `at` on.
    # As `run_one` of `channels`, which is a third slower here
    many, few = registers(lines, 1, VECTORS), registers(lines, 1, 1)
    LONG, SHORT = many.shape[1], few.shape[1]
    multiplies, p = 0, np.intp(0)
    while p + LONG <= count:
        for j in range(LONG):
            many[0, j] = 0
        for r in range(shifts.size):
            values, w = np.uintp(shifts[r] + p), weight[r]
            for j in range(LONG):
                many[0, j] += lines[values + np.uintp(j)] * w
                multiplies += 1
        for j in range(LONG):
            sums[np.uintp(at + p) + np.uintp(j)] = many[0, j]
        p += LONG
    while p + SHORT <= count:
        for j in range(SHORT):
            few[0, j] = 0
        for r in range(shifts.size):
            values, w = np.uintp(shifts[r] + p), weight[r]
            for j in range(SHORT):
                few[0, j] += lines[values + np.uintp(j)] * w
                multiplies += 1
        for j in range(SHORT):
            sums[np.uintp(at + p) + np.uintp(j)] = few[0, j]
        p += SHORT
    while p < count:
        total = lines.dtype.type(0)
        for r in range(shifts.size):
            total += lines[np.uintp(shifts[r] + p)] * weight[r]
            multiplies += 1
        sums[np.uintp(at + p)] = total
        p += 1
    return multiplies


@njit(jobs=True)
def pass_loops(job, x, column, row, y, SH, SW, top, left, DH, DW, counts):
    # x (N, C, H, W), column (KH,), row (KW,), y (N, C, OH, OW), counts (jobs, 2)
    N, C, H, W = x.shape
    OH, OW = y.shape[2:]
    KH, KW, jobs = column.size, row.size, counts.shape[0]
    flat_x, flat_y = x.reshape(x.size), y.reshape(y.size)
    part = (max((KW - 1) * DW + OW * SW, left + W) + SW - 1) // SW
    line = aligned(part * SW, y)  # of sums, zeros at its ends
    line[:] = 0
    apart = line if SW == 1 else aligned(part * SW, y)  # every SW-th sum, then those beside
    edge, downs, rights = aligned(0, y), np.empty(KH, np.intp), np.empty(KW, np.intp)
    for kw in range(KW):
        rights[kw] = kw * DW % SW * part + kw * DW // SW
    down, right = 0, 0
    for out in range(N * C * OH * job // jobs, N * C * OH * (job + 1) // jobs):
        first, ih = out // OH * H * W, out % OH * SH - top
        if ih >= 0 and ih + (KH - 1) * DH < H:
            for kh in range(KH):
                downs[kh] = first + (ih + kh * DH) * W
            down += run(flat_x, downs, column, line, left, W)
        else:  # rows of zeros above or below the image
            if edge.size == 0:
                edge = aligned(KH * W, y)
            for kh in range(KH):
                h, downs[kh] = ih + kh * DH, kh * W
                for iw in range(W):
                    inside = 0 <= h < H
                    edge[kh * W + iw] = flat_x[first + h * W + iw] if inside else 0
            down += run(edge, downs, column, line, left, W)
        for phase in range(SW if SW > 1 else 0):
            for i in range(part):
                apart[phase * part + i] = line[i * SW + phase]
        right += run(apart, rights, row, flat_y, out * OW, OW)
    counts[job] = down, right


def run_both(call: Separated) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Run both passes."""
    (N, C, _, W), window = call.x.shape, call.window
    (OH, OW), (KH, KW) = window.output, window.kernel
    y = empty("output", (N, C, OH, OW), call.x.dtype)
    counts = np.zeros((min(N * C * OH, 4 * get_num_threads()), 2), np.int64)
    steps = *window.stride, window.padding[0][0], window.padding[1][0], *window.dilation
    pass_loops(call.x, call.column, call.row, y, *steps, counts)
    down, right = counts.sum(axis=0).tolist()
    above = N * C * W * (OH * KH - window.taps[0])
    beside = N * C * OH * (OW * KW - window.taps[1])
    return y, (
        Pass("column pass", down, above, "dense, column pass", follows=True),
        Pass("row pass", right, beside, "dense, row pass", follows=True),
    )
