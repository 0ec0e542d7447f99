"""The main job: nine variants on an image, from Python and from a shell."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

import jitconv
from jitconv import cli
from jitconv.images.photo import load_image
from jitconv.learn.compare import Comparison
from jitconv.methods.tiled import lines
from jitconv.variants import VARIANTS

NAMES = [name.replace("deformable", "deformable layer") for name in VARIANTS]


@pytest.fixture
def photo(tmp_path, rng):
    """Return a function that writes a small photo of the given colours."""

    def write(name="photo.png", colours=3, size=(12, 10)):
        pixels = rng.random((*size, colours)).squeeze()
        path = tmp_path / name
        image.imsave(path, pixels, cmap="gray")
        if colours == 1:
            from PIL import Image

            Image.open(path).convert("L").save(path)
        return str(path)

    return write


def test_compare_runs_all_nine(rng):
    done = jitconv.compare(rng.random((2, 4, 9, 8)), out_channels=6)
    assert [row.report.variant for row in done.rows] == NAMES
    assert done.agrees
    assert done.rows[0].ratio == 1
    assert done.rows[7].ratio == 0.5
    assert "2 × 4 channels of 9×8 to 6, kernel 3×3, groups=2, float64" in str(done)
    nine = len(NAMES)
    assert done._repr_html_().count("<tr>") == nine + 1
    assert done.to_markdown().count("\n|") == nine + 2
    assert len(json.loads(json.dumps(done.to_dict()))["rows"]) == nine
    assert max(map(len, str(done).splitlines())) <= 100
    assert repr(done) == str(done)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1, 9), (1, 1, 40, 3)])
@pytest.mark.parametrize("kernel_size", [1, 2, 3])
def test_compare_and_plot_on_odd_shapes(shape, kernel_size, tmp_path):
    done = jitconv.compare(np.ones(shape, np.float32), kernel_size=kernel_size)
    assert done.agrees
    done.plot().savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(
    ("colours", "name"), [(1, "grey.png"), (3, "rgb.png"), (4, "rgba.png"), (3, "photo.jpg")]
)
def test_shell_compares_any_photo(photo, tmp_path, capsys, colours, name):
    figure = tmp_path / "figure.png"
    assert cli.main(["compare", photo(name, colours), "--save", str(figure)]) == 0
    out = capsys.readouterr().out
    channels = 6 if colours == 1 else 18
    assert f"{name}: {channels} channels of 12×10 to {channels}, kernel 3×3, groups=2" in out
    assert [line.split("  ")[0] for line in out.splitlines() if "✓" in line][: len(NAMES)] == NAMES
    assert image.imread(figure).shape[2] == 4
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_shell_takes_options(photo, capsys):
    assert (
        cli.main(["compare", photo(), "--kernel-size", "5", "--out-channels", "6", "--groups", "3"])
        == 0
    )
    assert "18 channels of 12×10 to 6, kernel 5×5, groups=3" in capsys.readouterr().out


def test_shell_reports_a_wrong_count(photo, capsys, monkeypatch):
    loops = lines.line_loops

    def one_less(*arrays):
        loops(*arrays)
        arrays[-1][0] -= 1

    monkeypatch.setattr(lines, "line_loops", one_less)
    assert cli.main(["compare", photo()]) == 1
    assert "✗" in capsys.readouterr().out


def test_large_photos_are_thinned(photo):
    pixels, description = load_image(photo("wide.png", size=(3, 50)), largest=20)
    assert pixels.shape == (3, 1, 17)
    assert description == "wide.png, 1 of 3×3 pixels"


def test_image_values_lie_between_0_and_1(photo):
    for name in ("photo.png", "photo.jpg"):
        pixels, _ = load_image(photo(name))
        assert pixels.dtype == np.float32
        assert 0 <= pixels.min() < 0.3
        assert 0.7 < pixels.max() <= 1


def test_16_bit_grey_image(tmp_path):
    from PIL import Image

    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_allclose(load_image(tmp_path / "deep.png")[0], [[[0, 0.5, 1]]], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["TEXT"], "cannot read it as an image"),
        (["TEXT.png"], "cannot read it as an image"),
        (["missing.png"], "there is no such file"),
        (["."], "cannot read it as an image"),
        (["PHOTO", "--groups", "4"], "groups: 4 does not divide 18, the input channels"),
        (["PHOTO", "--kernel-size", "0"], "kernel_size: must be at least 1"),
        (["PHOTO", "--out-channels", "-1"], "out_channels: must be at least 1"),
        (["PHOTO", "--save", "figure.txt"], "--save: figure.txt must end in one of"),
        (
            ["PHOTO", "--save", "missing/figure.png"],
            "cannot write missing/figure.png; its folder must exist",
        ),
        (["PHOTO", "--kernel-size", "three"], "invalid int value"),
    ],
)
def test_shell_says_what_is_wrong(photo, tmp_path, capsys, arguments, message):
    for name in ("TEXT", "TEXT.png"):
        (tmp_path / name).write_text("no image\n")
    names = {
        "TEXT": str(tmp_path / "TEXT"),
        "TEXT.png": str(tmp_path / "TEXT.png"),
        "PHOTO": photo(),
    }
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", *(names.get(a, a) for a in arguments)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["$x_$.png", "사진.png", "%s.png"])
def test_any_file_name_can_be_drawn(photo, tmp_path, name):
    assert cli.main(["compare", photo(name), "--save", str(tmp_path / "figure.png")]) == 0


def test_a_photo_of_one_pixel(photo, tmp_path):
    pixel, line = np.zeros((1, 1, 3)), np.zeros((1, 9, 3))
    image.imsave(tmp_path / "one.png", pixel)
    image.imsave(tmp_path / "line.png", line)
    arguments = "--kernel-size", "2", "--save", str(tmp_path / "figure.png")
    assert cli.main(["compare", str(tmp_path / "one.png"), *arguments]) == 0
    assert jitconv.compare(tmp_path / "line.png").photo.shape == (1, 9, 3)


def test_values_that_are_not_finite_can_be_drawn(tmp_path):
    x = np.full((1, 9, 9), np.inf, np.float32)
    x[0, :4] = np.nan
    jitconv.compare(x).plot().savefig(tmp_path / "figure.png")
    assert image.imread(tmp_path / "figure.png").size > 0


def test_a_reader_that_has_seen_enough_is_no_error(photo):
    command = [sys.executable, "-m", "jitconv", "compare", photo()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_figure_that_fails_leaves_the_old_one(photo, tmp_path, monkeypatch):
    figure = tmp_path / "figure.png"
    figure.write_text("old")

    def fail(self):
        raise RuntimeError("no ink")

    monkeypatch.setattr(Comparison, "plot", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        cli.main(["compare", photo(), "--save", str(figure)])
    assert figure.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.png", "photo.png"]


def test_shell_info(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for name in ("jitconv", "numba", "threads", "threading layer", "cache"):
        assert name in out


def test_warm_up_compiles_for_both_types():
    assert jitconv.warm_up("float32") >= 0
    assert jitconv.warm_up("float64") >= 0
