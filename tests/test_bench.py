"""The benchmark measures what it says, and writes both its files or says why not."""

import json
from functools import partial

import numba
import pytest

from jitconv import bench, cli

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="too slow in plain Python")


def test_bench_writes_numbers_and_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "pair", partial(bench.pair, seconds=0))
    monkeypatch.setattr(bench, "installed", set)
    files = ["--json", str(tmp_path / "b.json"), "--save", str(tmp_path / "b.png")]
    assert cli.main(["bench", "--only", "pointwise", *files]) == 0
    printed = capsys.readouterr().out
    assert "not installed: torch, cv2, scipy" in printed
    assert printed.count("no torch") == 4
    found = json.loads((tmp_path / "b.json").read_text("utf8"))
    assert [row["dense"] for row in found["layers"]] == [
        64 * 128 * 56 * 56,
        256 * 64 * 56 * 56,
        512 * 512 * 14 * 14,
        1024 * 1024 * 7 * 7,
    ]
    assert all(row["multiplies"] == row["dense"] for row in found["layers"])
    assert found["peak_gflops"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "b.png"]


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
