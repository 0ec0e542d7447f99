PYTHON ?= python3
PY := .venv/bin/python
TOOLS := .venv/bin/python -m

.PHONY: help setup demo test check format clean

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/installed  ## make .venv with jitconv and its development tools
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "jitconv needs Python 3.10 or later: make PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup  ## run the nine variants on a photo; writes demo.png
	$(TOOLS) jitconv compare --save demo.png

test: setup  ## the tests, compiled
	$(TOOLS) pytest

check: setup  ## lint, doctests, and the tests in plain Python, with bounds checks, on one thread, and at length
	$(TOOLS) ruff check .
	$(TOOLS) ruff format --check .
	$(TOOLS) pytest --doctest-modules jitconv
	NUMBA_DISABLE_JIT=1 $(TOOLS) pytest
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=.cache/boundscheck $(TOOLS) pytest
	NUMBA_NUM_THREADS=1 $(TOOLS) pytest
	HYPOTHESIS_PROFILE=thorough $(TOOLS) pytest tests/test_properties.py

format: setup  ## put the code in order
	$(TOOLS) ruff check --fix .
	$(TOOLS) ruff format .

clean:  ## remove what the other verbs made
	rm -rf .venv .cache .hypothesis .pytest_cache .ruff_cache demo.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
