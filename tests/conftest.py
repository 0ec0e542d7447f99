import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # before Numba is imported: two, on any machine

import numpy as np
import pytest
from hypothesis import settings

from jitconv import cli

settings.register_profile("test", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder: returns its status, its lines, and what it says of errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            status = cli.main(arguments)
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return run
