"""``python -m jitconv``: the nine variants on a photo, and what jitconv runs on."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import checks, table
from .jit import info
from .learn import compare
from .models import measure
from .variants import warm_up
from .variants.pointwise import pointwise_conv2d

BENCH_LEGEND = (
    "three rounds; in each, every side is called for 0.25 s after a pause of 0.05 s, sides in turn",
    "ms: median of the rounds' medians, checks and allocation included; ± %: half their spread",
    "GFLOP/s: executed FLOPs (2 × MACs) a nanosecond; peak: share of the measured FMA peak",
    "memory: bytes of input, weight and output a second, as a share of the measured copy",
    "× direct: time(textbook loops) / time, where the tiled loops were taken",
    "× peer: median of the rounds' time(peer) / time(jitconv); above 1 jitconv is faster",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 where a count disagrees with its formula.

    Unusable arguments exit with 2.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows ? instead of an error
    parser = argparse.ArgumentParser(
        prog="jitconv" if Path(sys.argv[0]).stem == "jitconv" else "python -m jitconv",
        description="The convolution textbook that runs.",
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
        help="of the grouped convolution (default: the least from 2 on that divides)",
    )
    command.add_argument(
        "--save", type=Path, metavar="FILE", help="write a figure: PNG, PDF, SVG …"
    )
    figures_command = commands.add_parser("figures", help="draw the pictures of the textbook")
    figures_command.add_argument(
        "folder", nargs="?", type=Path, default=Path("figures"), help="where to (%(default)s)"
    )
    bench_command = commands.add_parser(
        "bench", help="time every variant beside torch, OpenCV and SciPy where they are installed"
    )
    part = bench_command.add_mutually_exclusive_group()
    part.add_argument(
        "--only", metavar="VARIANT", help='the layers of one variant, or of "… backward"'
    )
    part.add_argument(
        "--sweep", metavar="COUNT", type=int, help="this many random layers: means, and the worst"
    )
    part.add_argument(
        "--scene", metavar="SIZE", type=int, help="images up to SIZE×SIZE from disk, block by block"
    )
    bench_command.add_argument("--json", type=Path, help="where the numbers go (bench.json)")
    bench_command.add_argument("--save", type=Path, help="where the figure goes (bench.png)")
    networks_command = commands.add_parser(
        "networks", help="list the networks of the papers, or show one layer by layer"
    )
    networks_command.add_argument("network", nargs="?", help="one of the list")
    networks_command.add_argument(
        "--run", action="store_true", help="run every layer at full size and count"
    )
    networks_command.add_argument("--seed", type=int, default=0, help="of the weights")
    networks_command.add_argument("--save", type=Path, help="write the figure to this file")
    measure_command = commands.add_parser(
        "measure", help="run a PyTorch or ONNX model of your own layer by layer, counted"
    )
    measure_command.add_argument(
        "model", metavar="MODEL", help="an ONNX file, or package.module:name of a module or maker"
    )
    measure_command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]1x3x224x224",
        help="shape of a random input, or a .npy file with the input; once for each input",
    )
    measure_command.add_argument(
        "--image", metavar="PHOTO", help="a photo for the first input, resized to its shape"
    )
    measure_command.add_argument("--seed", type=int, default=0, help="of random inputs")
    measure_command.add_argument(
        "--depth", type=int, help="show modules down to this level, with sums, and no layers"
    )
    measure_command.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    measure_command.add_argument("--markdown", type=Path, metavar="FILE", help="and the table here")
    measure_command.add_argument(
        "--no-compare",
        dest="compare",
        action="store_false",
        help="leave out the framework's own outputs: faster",
    )
    commands.add_parser("info", help="print versions, threads, threading layer, cache folder")
    options = parser.parse_args(arguments)
    try:
        run = {
            "info": _info,
            "compare": _compare,
            "networks": _networks,
            "bench": _bench,
            "figures": _figures,
            "measure": _measure,
        }[options.command]
        return run(options)
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog} {options.command}: interrupted\n")
    except (ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        parser.exit(2, f"{parser.prog} {options.command}: error: {error}\n")


def _info(options: argparse.Namespace) -> int:
    pointwise_conv2d([[[0]]], [[1]])  # Numba chooses the threading layer at the first launch
    for name, value in info().items():
        print(f"{name:16} {value}", flush=True)
    return 0


def _compare(options: argparse.Namespace) -> int:
    if options.save:
        _check_figure(options.save)
    begin = time.perf_counter()
    job = compare.Job.prepare(
        options.image, options.kernel_size, options.out_channels, options.groups
    )
    print(job.title, flush=True)
    warm_up(job.inputs.x.dtype)
    seconds = time.perf_counter() - begin
    print(f"ready after {seconds:.1f} s: the first run on a machine compiles the loops\n")
    print(table.line(compare.COLUMNS, compare.COLUMNS))
    rows = []
    for row in job.rows():
        print(row.line(), flush=True)
        rows.append(row)
    print("", *compare.LEGEND, sep="\n")
    done = compare.Comparison(tuple(rows), job.photo, job.title)
    if options.save:
        _write(options.save, done.plot().savefig)
        print(f"figure: {options.save}")
    return 0 if done.agrees else 1


def _networks(options: argparse.Namespace) -> int:
    from . import networks
    from .networks import running
    from .plots.networks import plot_networks

    if options.save:
        _check_figure(options.save)
    checks.integer("--seed", options.seed, 0)
    known = networks.CATALOGUE
    if options.network is None:
        if options.run:
            raise ValueError("--run: needs a network; python -m jitconv networks lists them")
        built = {name: build() for name, build in known.items()}
        print(*networks.summary(built), sep="\n")
        if options.save:
            _write(options.save, plot_networks(list(built.values())).savefig)
        return 0
    if options.network not in known:
        raise ValueError(f"network: must be one of {', '.join(known)}, got {options.network!r}")
    network = known[options.network]()
    if options.save:
        _write(options.save, network.plot().savefig)
    agrees = True
    if options.run:
        print(network.title, table.line(running.COLUMNS, running.COLUMNS), sep="\n")
        steps, rows = running.Steps(network, options.seed), []
        for ran in steps:
            rows.append(ran)
            print(table.line(ran.cells(), running.COLUMNS), flush=True)
        done = networks.Run(network, tuple(rows), steps.output)
        print(table.line(done.total(), running.COLUMNS), *running.LEGEND, sep="\n")
        share = {kind: f"{n / done.multiplies:.3%}" for kind, n in done.by_kind().items()}
        print("measured shares:", ", ".join(f"{kind} {part}" for kind, part in share.items()))
        agrees = done.agrees
    else:
        print(network)
    if network.published:
        print("", network.reconcile(), sep="\n")
    return 0 if agrees else 1


def _measure(options: argparse.Namespace) -> int:
    from .models import measured, shell

    for option, path in (("--json", options.json), ("--markdown", options.markdown)):
        if path is not None:
            _check_place(option, path)
    if options.json is not None and options.json == options.markdown:
        raise ValueError(f"--json, --markdown: must be two files, got {options.json} for both")
    if options.depth is not None:
        checks.integer("--depth", options.depth, 1)
    model, inputs, said = shell.prepare(options.model, options.input, options.image, options.seed)
    print(*said, "", sep="\n")
    shown = options.depth is None
    columns = {name: width for name, width in measured.COLUMNS.items() if name != "share"}

    def show(cells: Sequence[str]) -> None:
        if shown:
            kept = [
                cell for cell, name in zip(cells, measured.COLUMNS, strict=True) if name != "share"
            ]
            print(table.line(kept, columns), flush=True)

    show(list(measured.COLUMNS))
    try:
        done = measure(model, *inputs, compare=options.compare, each=lambda row: show(row.cells()))
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # of the model's own code; by a RuntimeError torch refuses shapes
        if isinstance(model, (str, os.PathLike)):
            raise
        kind = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
        raise ValueError(f"{options.model}: {kind}{error}") from error
    done = done.fold(options.depth)
    show(done.total())
    print(*["", done.title, *done.summary()] if shown else [done], sep="\n")
    if options.json:
        text = json.dumps(done.to_dict(), indent=1, allow_nan=False)
        _write(options.json, lambda part: part.write_text(text, "utf8"))
    if options.markdown:
        _write(options.markdown, lambda part: part.write_text(done.to_markdown() + "\n", "utf8"))
    return 0 if all(row.report.agrees for row in done.rows) else 1


def _figures(options: argparse.Namespace) -> int:
    from .learn.gallery import gallery

    options.folder.mkdir(parents=True, exist_ok=True)
    for picture in gallery():
        path = options.folder / f"{picture.name}.png"
        _write(path, picture.draw().savefig)
        print(f"{path}: {picture.lesson}", flush=True)
    return 0


def _bench(options: argparse.Namespace) -> int:
    from . import bench  # with its peers it takes long to import
    from .plots.roofline import plot_roofline

    if (options.sweep or options.scene) is not None and (options.json or options.save):
        raise ValueError("--sweep, --scene: print their numbers; they take no --json and no --save")
    if options.sweep is not None:
        if options.sweep < 1:
            raise ValueError(f"--sweep: must be 1 layer or more, got {options.sweep}")
        for line in bench.sweep(options.sweep, bench.installed()):
            print(line, flush=True)
        return 0
    if options.scene is not None:
        if options.scene < 4:
            raise ValueError(f"--scene: must be 4 pixels or more, got {options.scene}")
        for name, value in bench.scenes(options.scene):
            print(f"{name:56} {value}", flush=True)
        return 0
    backward = (f"{name} backward" for name in bench.BACKWARD)
    known = list(dict.fromkeys([*bench.VARIANTS, *bench.LAYERS, *backward]))
    if options.only not in (None, *known):
        raise ValueError(f"--only: must be one of {', '.join(known)}, got {options.only!r}")
    options.json, options.save = (
        options.json or Path("bench.json"),
        options.save or Path("bench.png"),
    )
    _check_figure(options.save)
    _check_place("--json", options.json)
    peak, bandwidth = bench.machine()
    print(bench.header(peak, bandwidth), "", sep="\n", flush=True)
    align = "{:44} {:>9} {:>4} {:>8} {:>5} {:>6} {:>8} {:>7} {:>9} {}"
    print(align.format(*bench.HEAD))
    rows, notes = [], []
    for layer in bench.layers(bench.installed(), options.only):
        rows.append(bench.row(layer, peak, bandwidth))
        print(align.format(*bench.cells(rows[-1])), flush=True)
    print("", *BENCH_LEGEND, "", "geometric mean of × peer", sep="\n")
    for name, value in bench.summary(rows):
        print(f"{name:56} {value}")
    print()
    for name, value in bench.further() if options.only is None else ():
        notes.append((name, value))
        print(f"{name:56} {value}", flush=True)
    found = {
        "machine": bench.header(peak, bandwidth),
        "versions": info(),
        "peak_gflops": peak,
        "copy_gbs": bandwidth,
        "layers": rows,
        "further": dict(notes),
    }
    _write(options.json, lambda part: part.write_text(json.dumps(found, indent=1), "utf8"))
    _write(options.save, plot_roofline(rows, peak, bandwidth).savefig)
    print(f"\nnumbers: {options.json}, figure: {options.save}")
    return 0


def _check_figure(path: Path) -> None:
    """Refuse a figure that could not be written, before the work of an image is done."""
    from matplotlib.figure import Figure

    formats = set(Figure().canvas.get_supported_filetypes()) - {"pgf"}  # which needs LaTeX
    if path.suffix.lstrip(".").lower() not in formats:
        raise ValueError(f"--save: {path} must end in one of {', '.join(sorted(formats))}")
    _check_place("--save", path)


def _check_place(option: str, path: Path) -> None:
    place = path if _is_device(path) else path.resolve().parent
    if path.is_dir() or not place.exists() or not os.access(place, os.W_OK):
        raise ValueError(f"{option}: cannot write {path}; its folder must exist and be writable")


def _is_device(path: Path) -> bool:  # or a pipe
    return path.exists() and not path.is_file() and not path.is_dir()


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there.

    So no half-written file is ever left under its name.
    """
    if _is_device(path):
        write(path)
        return
    path = path.resolve()  # of a link, the file that it names
    part = path.with_name(f".{os.getpid()}{path.suffix}")
    try:
        write(part)
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
