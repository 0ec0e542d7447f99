ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := Scripts
else
PYTHON ?= python3
BIN := bin
endif
PY := .venv/$(BIN)/python
PY_OLDEST := .venv-oldest/$(BIN)/python

# by files, whose tests need the same loops: each process compiles its own
SHARED := -m pytest -n logical --maxprocesses 4 --dist loadfile
SPHINX := $(PY) -m sphinx -c docs -j auto -q -W --keep-going

.PHONY: help setup demo figures notebooks site translations test check check-oldest bench format clean

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/installed  ## make .venv with jitconv and its development tools
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "jitconv needs Python 3.10 or later: make PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup  ## run the nine variants on a photo; writes demo.png
	$(PY) -m jitconv compare --save demo.png

figures: setup  ## draw the pictures of the textbook; writes figures/
	$(PY) -m jitconv figures

notebooks: setup  ## run the notebooks and keep their outputs
	$(PY) -m nbconvert --config notebooks/nbconvert_config.py --to notebook --inplace --execute notebooks/*.ipynb

site: setup  ## build the course, the API and the docs as pages to read in a browser, in English and Korean; writes site/
	rm -rf site .cache/site docs/api
	$(SPHINX) -d .cache/site/doctrees-en . .cache/site/en
	$(SPHINX) -d .cache/site/doctrees-ko -t ko . .cache/site/ko
	mv .cache/site/en site
	mv .cache/site/ko site/ko
	$(PY) docs/check_site.py site

translations: setup  ## bring docs/locale up to date with the pages, and list what is still to be translated
	rm -rf .cache/gettext docs/api
	$(SPHINX) -b gettext . .cache/gettext README.md docs/*.md notebooks/*.ipynb
	.venv/$(BIN)/sphinx-intl update --pot-dir .cache/gettext --locale-dir docs/locale --language ko --line-width 0
	-.venv/$(BIN)/sphinx-intl stat --locale-dir docs/locale --language ko

test: setup  ## the tests, compiled
	$(PY) $(SHARED)

check: setup  ## lint, imports, types, doctests, the notebooks; the tests in plain Python, with bounds checks, on one thread, at length; the site
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/$(BIN)/lint-imports
	$(PY) -m mypy
	$(PY) -m pytest --doctest-modules jitconv
	PYTHONWARNINGS=error,ignore::DeprecationWarning $(PY) $(SHARED) --nbval notebooks
	$(PY) $(SHARED) -m slow
	NUMBA_DISABLE_JIT=1 $(PY) $(SHARED)
	NUMBA_NUM_THREADS=1 NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=.cache/boundscheck $(PY) $(SHARED)
	NUMBA_NUM_THREADS=1 $(PY) $(SHARED)
	HYPOTHESIS_PROFILE=thorough $(PY) -m pytest tests/test_properties.py
	$(MAKE) site

check-oldest: .venv-oldest/installed  ## the tests, with the oldest versions that pyproject.toml allows, in .venv-oldest
	NUMBA_CACHE_DIR=.cache/oldest $(PY_OLDEST) $(SHARED)
.venv-oldest/installed: pyproject.toml constraints/oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13) and "NumPy 1.26 needs Python 3.10 to 3.12: make check-oldest PYTHON=…")'
	$(PYTHON) -m venv .venv-oldest
	$(PY_OLDEST) -m pip install --quiet --disable-pip-version-check --constraint constraints/oldest.txt --editable '.[test,dask]'
	touch $@

bench: setup  ## time every variant beside torch, OpenCV and SciPy; writes bench.json and bench.png
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(PY) -m jitconv bench

format: setup  ## put the code in order
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## remove what the other verbs made
	rm -rf .venv .venv-oldest figures site docs/api .cache .hypothesis .pytest_cache .ruff_cache demo.png bench.json bench.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
