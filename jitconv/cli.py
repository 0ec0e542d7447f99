"""``python -m jitconv``: the nine variants on a photo, and what jitconv runs on."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import comparison
from .jit import info
from .variants.pointwise import pointwise_conv2d


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 where a count disagrees with its formula.

    Unusable arguments exit with 2.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows ? instead of an error
    parser = argparse.ArgumentParser(
        prog="python -m jitconv", description="The convolution textbook that runs."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("compare", help="run all nine variants on an image, counted")
    command.add_argument(
        "image", nargs="?", metavar="IMAGE", help="PNG, JPEG …; default: matplotlib's sample photo"
    )
    command.add_argument(
        "--kernel-size", type=int, default=3, metavar="K", help="taps on each side (default: 3)"
    )
    command.add_argument(
        "--out-channels", type=int, metavar="M", help="default: as many as input channels"
    )
    command.add_argument(
        "--groups",
        type=int,
        metavar="G",
        help="of the grouped convolution (default: 2 where that divides)",
    )
    command.add_argument(
        "--save", type=Path, metavar="FILE", help="write a figure: PNG, PDF, SVG …"
    )
    commands.add_parser("info", help="print versions, threads, threading layer, cache folder")
    options = parser.parse_args(arguments)
    try:
        return _info() if options.command == "info" else _compare(options)
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, OSError, TypeError, ValueError) as error:
        command.error(str(error))


def _info() -> int:
    pointwise_conv2d([[[0]]], [[1]])  # Numba chooses the threading layer at the first launch
    for name, value in info().items():
        print(f"{name:16} {value}", flush=True)
    return 0


def _compare(options: argparse.Namespace) -> int:
    if options.save:
        _check_figure(options.save)
    begin = time.perf_counter()
    job = comparison.Job.prepare(
        options.image, options.kernel_size, options.out_channels, options.groups
    )
    print(job.title, flush=True)
    comparison.warm_up(job.dtype)
    seconds = time.perf_counter() - begin
    print(f"ready after {seconds:.1f} s: the first run on a machine compiles the loops\n")
    print(comparison.line(comparison.COLUMNS))
    rows = []
    for row in job.rows():
        print(row.line(), flush=True)
        rows.append(row)
    print("", *comparison.LEGEND, sep="\n")
    done = comparison.Comparison(tuple(rows), job.photo, job.title)
    if options.save:
        _save(done, options.save)
        print(f"figure: {options.save}")
    return 0 if done.agrees else 1


def _check_figure(path: Path) -> None:
    """Refuse a figure that could not be written, before the work of an image is done."""
    from matplotlib.figure import Figure

    formats = set(Figure().canvas.get_supported_filetypes()) - {"pgf"}  # which needs LaTeX
    if path.suffix.lstrip(".").lower() not in formats:
        raise ValueError(f"--save: {path} must end in one of {', '.join(sorted(formats))}")
    if (
        path.is_dir()
        or not path.resolve().parent.is_dir()
        or not os.access(path.resolve().parent, os.W_OK)
    ):
        raise ValueError(f"--save: cannot write {path}; its folder must exist and be writable")


def _save(done: comparison.Comparison, path: Path) -> None:
    """Write the figure beside its place and move it there.

    So no half-written file is ever left under its name.
    """
    part = path.with_name(f".{os.getpid()}{path.suffix}")
    try:
        done.plot().savefig(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
