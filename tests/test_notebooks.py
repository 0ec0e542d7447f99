"""What is stored in the notebooks; `make check` runs them and compares every text output."""

import ast
import itertools
import json
import re
from pathlib import Path

import numba
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path):
    return json.loads(path.read_text(encoding="utf8"))["cells"]


@EACH
def test_stored_form(path):
    assert path.stat().st_size < 1_000_000
    notebook = json.loads(path.read_text(encoding="utf8"))
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in names)
    assert all(set(cell["metadata"]) <= {"tags", "jupyter", "mystnb"} for cell in notebook["cells"])


@EACH
def test_outputs_are_kept(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert len("".join(cell["source"]).splitlines()) <= 30, cell["id"]
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            data = output.get("data", {})
            for image in (name for name in list(data) if name.startswith("image/")):
                assert len(data.pop(image)) * 3 / 4 < 150_000, cell["id"]
            text = json.dumps(output).replace("\\n", " ")
            assert not re.search(r"(?<![\w.<])/\w+/\w+| at 0x", text), cell["id"]


@EACH
def test_pictures_have_words(path):
    for cell in cells(path):
        drawn = any(
            kind.startswith("image/")
            for output in cell.get("outputs", ())
            for kind in output.get("data", ())
        )
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        assert drawn == (len(alt) > 20), cell["id"]


@EACH
def test_links_lead_somewhere(path):
    for cell in (cell for cell in cells(path) if cell["cell_type"] == "markdown"):
        for link in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
            assert link.startswith("https:") or (path.parent / link).is_file(), (cell["id"], link)


@EACH
def test_exercises(path):
    """Unanswered they say so; the solution that is folded away below each is right."""
    if numba.config.DISABLE_JIT and path.stem == "12_networks":
        pytest.skip("a layer of a network takes too long in plain Python")
    if path.stem == "15_your_own_model":
        for framework in ("torch", "onnx", "onnxruntime"):
            pytest.importorskip(framework)
    if path.stem == "16_larger_than_memory":
        pytest.importorskip("dask")
    every = cells(path)
    names = {}
    imports = [line for line in every[1]["source"] if not line.startswith("%")]
    exec("".join(imports), names)
    for cell, below in itertools.pairwise(every):
        if "exercise" not in cell["metadata"].get("tags", ()):
            continue
        *given, question = ast.parse("".join(cell["source"])).body
        (solution,) = re.findall(r"```python\n(.*?)```", "".join(below["source"]), re.DOTALL)
        exec(compile(ast.Module(given, []), cell["id"], "exec"), names)
        question = compile(ast.Expression(question.value), cell["id"], "eval")
        assert eval(question, names).right is None
        exec(solution, names)
        assert eval(question, names), cell["id"]
