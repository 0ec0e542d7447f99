"""The README says what is true: its example prints what it shows, and its table holds what the photo costs."""

import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import jitconv

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")
compiled = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="a photo takes too long in plain Python"
)


@compiled
@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_the_example_prints_what_the_readme_shows(name):
    text = (ROOT / name).read_text(encoding="utf8")
    code, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", text, re.DOTALL).groups()
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, timeout=300, check=True
    )
    assert done.stdout.decode("utf8") == output


def test_a_model_of_ones_own_prints_what_the_readme_shows():
    pytest.importorskip("torch")
    part = README[README.index("## Your own model") :]
    code, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", part, re.DOTALL).groups()
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, timeout=300, check=True
    )

    def words(text):  # without the last columns, rounding and time
        return [line.split()[: -2 if "%" in line else None] for line in text.splitlines()]

    assert words(done.stdout.decode("utf8")) == words(output)


@compiled
def test_an_image_larger_than_memory_prints_what_the_readme_shows(tmp_path):
    pytest.importorskip("dask")
    pytest.importorskip("zarr")
    part = README[README.index("## Images larger than memory") :]
    code, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", part, re.DOTALL).groups()
    command = [sys.executable, "-X", "utf8", "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True, cwd=tmp_path)
    assert done.stdout.decode("utf8").endswith(f"\n{output}")  # after the bar


@compiled
def test_the_table_holds_the_counts_of_the_sample_photo():
    rows = dict(re.findall(r"^\| \[([a-z ]+)\]\(.*?\).*?\| (.*?) \|$", README, re.MULTILINE))
    counted = {row.report.variant: row.cells() for row in jitconv.compare().rows}
    assert len(rows) == 9
    for name, shown in rows.items():
        _, parameters, document, measured, on_padding, _, ratio, *_ = counted[name]
        assert shown == f"{parameters} | {document} | {measured} | {on_padding} | {ratio}"


PAGES = [
    ROOT / "README.md",
    ROOT / "README.ko.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf8")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    anchors = re.findall(r"\]\(#([^)]+)", text)
    assert [anchor for anchor in anchors if f'id="{anchor}"' not in text] == []
