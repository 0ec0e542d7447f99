"""Every notebook runs from top to bottom, and is stored without outputs."""

import json
from pathlib import Path

import matplotlib as mpl
import numba
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a photo takes too long in plain Python")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    mpl.use("agg")
    namespace = {}
    for cell in json.loads(path.read_text(encoding="utf8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
