"""The benchmark measures what it says, and writes both its files or says why not."""

import json
import subprocess
import sys

import numba
import numpy as np
import pytest

from jitconv import bench, cli
from jitconv.methods import METHODS

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="too slow in plain Python")


def quick(monkeypatch):
    blocks = bench.blocks
    monkeypatch.setattr(bench, "blocks", lambda *calls, **_: blocks(*calls, seconds=0, pause=0))
    monkeypatch.setattr(bench, "installed", set)


def test_each_side_is_called_in_blocks_of_its_own():
    called = []
    times = bench.blocks(lambda: called.append("a"), lambda: called.append("b"), seconds=0, pause=0)
    assert "".join(called) == "abab" + 3 * "aaabbb"
    assert [len(rounds) for rounds in times] == [3, 3]
    assert bench.ratio([1, 2, 4], [3, 2, 2]) == 1


def test_bench_writes_numbers_and_a_figure(tmp_path, monkeypatch, capsys):
    quick(monkeypatch)
    files = ["--json", str(tmp_path / "b.json"), "--save", str(tmp_path / "b.png")]
    assert cli.main(["bench", "--only", "pointwise", *files]) == 0
    printed = capsys.readouterr().out
    assert "not installed: torch, torchvision, cv2, scipy" in printed
    assert printed.count("no torch") == 8
    found = json.loads((tmp_path / "b.json").read_text("utf8"))
    assert [row["dense"] for row in found["layers"]][:4] == [
        64 * 128 * 56 * 56,
        256 * 64 * 56 * 56,
        512 * 512 * 14 * 14,
        1024 * 1024 * 7 * 7,
    ]
    assert all(row["multiplies"] == row["dense"] for row in found["layers"])
    assert found["peak_gflops"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "b.png"]


@pytest.mark.slow
def test_a_layer_of_each_family_can_be_run():
    families = {layer.family: layer for layer in bench.layers(set())}
    assert set(families) >= {
        *bench.VARIANTS,
        "few outputs",
        "standard backward",
        "deformable backward",
    }
    for layer in families.values():
        layer.call().report.verify()


@pytest.mark.slow
@pytest.mark.parametrize("peer", bench.PEERS)
def test_a_peer_does_the_same_work(peer):
    if peer not in bench.installed():
        pytest.skip(f"no {peer}")
    layers = [layer for layer in bench.layers({peer}) if layer.peer == peer]
    if peer == "torch":
        pytest.importorskip(peer).set_grad_enabled(True)  # which the benchmark turns off
    for layer in {layer.family: layer for layer in layers}.values():
        (made, _), theirs = layer.call(), layer.peer_call()
        if not layer.family.endswith(" backward"):
            made, theirs = (made,), (theirs,)
        for ours, other in zip(
            (a for a in made if a is not None), map(np.asarray, theirs), strict=True
        ):
            atol = 1e-5 * abs(ours).max()
            np.testing.assert_allclose(
                ours.ravel(), other.ravel(), rtol=0, atol=atol, err_msg=layer.family
            )


def test_a_variant_without_layers_has_one_all_the_same(monkeypatch):
    monkeypatch.setattr(bench, "LAYERS", {})
    found = {layer.family: layer for layer in bench.layers(set())}
    assert list(found) == list(bench.VARIANTS)
    for layer in found.values():
        layer.call().report.verify()


def test_winograd_is_timed_where_there_is_such_a_method(monkeypatch):
    monkeypatch.delitem(bench.METHODS, "winograd", raising=False)
    assert not list(bench.layers(set(), "winograd"))
    monkeypatch.setitem(bench.METHODS, "winograd", METHODS["tiled"]._replace(name="winograd"))
    found = list(bench.layers(set(), "winograd"))
    assert len(found) == 8
    assert found[0].call().report.method == "winograd"


def test_a_sweep_draws_the_same_layers_in_each_run():
    first, second = ([layer[:2] for layer in bench.drawn(30, set())] for _ in range(2))
    assert first == second
    assert len(set(first)) == 30
    assert len({family for family, _ in first}) == 6


def test_a_sweep_names_the_worst(monkeypatch, capsys):
    quick(monkeypatch)
    assert cli.main(["bench", "--sweep", "2"]) == 0
    printed = capsys.readouterr().out
    assert "against direct" in printed
    assert "the worst against direct, of 2" in printed


def test_a_sweep_of_no_layers_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--sweep", "0"])
    assert "--sweep: must be 1 layer or more, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--save"])
def test_bench_refuses_a_place_it_cannot_write(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", option, str(tmp_path / "missing" / "b.png")])
    assert stop.value.code == 2
    assert f"{option}: cannot write" in capsys.readouterr().err


def test_bench_names_an_unknown_variant(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--only", "fourier"])
    error = capsys.readouterr().err
    assert "--only: must be one of standard, dilated, transposed," in error
    assert "depthwise backward" in error


def test_bench_says_which_parts_make_no_files(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--sweep", "1", "--json", "sweep.json"])
    assert "take no --json and no --save" in capsys.readouterr().err


def test_a_scene_is_filtered_from_disk_to_disk(tmp_path):
    pytest.importorskip("dask")
    zarr = pytest.importorskip("zarr")
    for how in ("x", "memory", "threads"):
        command = [sys.executable, "-c", bench.SCENE, how, str(tmp_path), "96", "32"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        numbers = list(map(float, done.stdout.split()))
        assert len(numbers) == (0 if how == "x" else 2)
        assert all(number > 0 for number in numbers)
    found, expected = (zarr.open_array(tmp_path / how)[:] for how in ("threads", "memory"))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_scene_of_no_pixels_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--scene", "0"])
    assert "--scene: must be 4 pixels or more, got 0" in capsys.readouterr().err
