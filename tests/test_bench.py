"""The benchmark measures what it says, and writes both its files or says why not."""

import json

import numba
import pytest

from jitconv import bench, cli

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="too slow in plain Python")


def quick(monkeypatch):
    monkeypatch.setattr(
        bench, "blocks", lambda *calls, seconds=0, blocks=bench.blocks: blocks(*calls, seconds=0)
    )
    monkeypatch.setattr(bench, "PAUSE", 0)
    monkeypatch.setattr(bench, "installed", set)


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


def test_every_layer_can_be_run():
    """One layer of each family; those of random sizes are the same in each run."""
    families = {layer.family: layer for layer in bench.layers(set())}
    assert set(families) >= {*bench.VARIANTS, "few outputs"}
    for layer in families.values():
        layer.call().report.verify()
    drawn = [f"{layer.family} {layer.label}" for layer in bench.drawn(20, set())]
    assert drawn == [f"{layer.family} {layer.label}" for layer in bench.drawn(20, set())]


def test_a_sweep_names_the_worst(monkeypatch, capsys):
    quick(monkeypatch)
    assert cli.main(["bench", "--sweep", "2"]) == 0
    assert "the worst beside direct, of 2" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--json", "--save"])
def test_bench_refuses_a_place_it_cannot_write(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", option, str(tmp_path / "missing" / "b.png")])
    assert stop.value.code == 2
    assert f"{option}: cannot write" in capsys.readouterr().err


def test_bench_names_an_unknown_variant(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--only", "fourier"])
    assert "there is no variant 'fourier'" in capsys.readouterr().err
