import os

os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # before Numba is imported: two, on any machine

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("test", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.fixture
def rng():
    return np.random.default_rng(0)
