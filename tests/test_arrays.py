"""Whatever NumPy can hold gives the right answer: layouts, strides, byte orders, lists; and the same bits on any threads."""

import gc
import os
import subprocess
import sys
import threading

import calls
import numba
import numpy as np
import pytest
from hypothesis import given

import jitconv
from jitconv import checks, jit
from jitconv.methods.tiled import lines
from jitconv.variants import VARIANTS
from jitconv.variants.standard import standard_loops

WEIGHT = np.random.default_rng(1).normal(size=(3, 2, 3, 2))
PLAIN = np.random.default_rng(2).normal(size=(2, 2, 6, 5))


def unaligned(x):
    record = np.zeros(x.shape, np.dtype([("gap", np.int8), ("value", x.dtype)]))
    record["value"] = x
    return record["value"]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "fortran": np.asfortranarray,
    "channels last": lambda x: np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, 3, 1, 2),
    "every second": lambda x: x.repeat(2, axis=2).repeat(2, axis=3)[:, :, ::2, ::2],
    "backwards": lambda x: x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:, :, :1], x.shape),  # every row is the first one
    "big endian": lambda x: x.astype(">f8"),
    "little endian": lambda x: x.astype("<f8"),
    "read-only": read_only,
    "unaligned": unaligned,
    "nested lists": lambda x: x.tolist(),
    "a result": lambda x: jitconv.ConvResult(x, None),
    "a subclass": lambda x: x.view(type("Images", (np.ndarray,), {})),
}


def test_layouts_are_what_they_are_called():
    assert LAYOUTS["broadcast"](PLAIN).strides[2] == 0
    assert LAYOUTS["backwards"](PLAIN).strides[3] < 0
    assert not LAYOUTS["unaligned"](PLAIN).flags.aligned


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout):
    x, weight, swapped = (LAYOUTS[layout](a) for a in (PLAIN, WEIGHT, WEIGHT.swapaxes(0, 1)))
    plain_x, plain_weight, plain_swapped = (
        np.array(a, dtype=np.float64, order="C") for a in (x, weight, swapped)
    )
    y, _ = jitconv.conv2d(x, plain_weight, padding=1)
    np.testing.assert_array_equal(y, jitconv.conv2d(plain_x, plain_weight, padding=1).output)
    assert type(y) is np.ndarray
    assert y.dtype == np.dtype("=f8")
    assert y.flags.c_contiguous
    z, _ = jitconv.conv2d(plain_x, weight, padding=1)
    np.testing.assert_array_equal(z, y)
    z, _ = jitconv.conv_transpose2d(x, swapped)
    np.testing.assert_array_equal(z, jitconv.conv_transpose2d(plain_x, plain_swapped).output)


def test_read_only_arrays_are_read_where_they_are(tmp_path):
    PLAIN.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float64, "r", shape=PLAIN.shape)
    for x in (mapped, read_only(PLAIN)):
        assert np.shares_memory(checks.floats("x", x), x)
        assert not x.flags.writeable
        np.testing.assert_array_equal(
            jitconv.conv2d(x, WEIGHT).output, jitconv.conv2d(PLAIN, WEIGHT).output
        )


class Tensor:
    """As torch's: it hands out no numbers while it requires grad."""

    def __init__(self, array, requires_grad=True):
        self.array, self.requires_grad = array, requires_grad

    def detach(self):
        return Tensor(self.array, requires_grad=False)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.array


class Packed:
    """An array that speaks DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_arrays_of_other_libraries():
    expected = jitconv.conv2d(PLAIN, WEIGHT).output
    for other in (Tensor, Packed):
        y, _ = jitconv.conv2d(other(PLAIN), other(WEIGHT))
        np.testing.assert_array_equal(y, expected)


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    x, weight = torch.from_numpy(PLAIN), torch.nn.Parameter(torch.from_numpy(WEIGHT))
    y, _ = jitconv.conv2d(x, weight)
    np.testing.assert_array_equal(y, jitconv.conv2d(PLAIN, WEIGHT).output)
    with pytest.raises(TypeError, match="x: NumPy cannot read Tensor"):
        jitconv.conv2d(x.to(torch.bfloat16), weight)


def test_lists_take_the_type_of_x():
    y, _ = jitconv.conv2d(np.ones((1, 2, 2), np.float32), [[[[1, 2], [3, 4]]]], [5])
    assert y.dtype == np.float32
    assert y.item() == 15


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="set to one thread")
@given(calls.calls())
def test_same_bits_on_one_thread_and_on_two(call):
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = call.run()
        numba.set_num_threads(2)
        two = call.run()
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(one.output, two.output)
    assert one.report == two.report


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compiles nothing")
def test_compiling_leaves_the_garbage_collector_as_it_was():
    loops = jit.njit(lambda job, y: None, jobs=True)
    for collects, dtype in ((True, np.float32), (False, np.float64)):
        (gc.enable if collects else gc.disable)()
        try:
            loops(np.zeros(2, dtype))
            assert gc.isenabled() == collects
        finally:
            gc.enable()


def test_python_threads_may_call_at_once():
    """Numba's workqueue layer would abort the process without the lock in jit.py."""
    expected = jitconv.conv2d(PLAIN, WEIGHT).output
    outputs = []
    threads = [
        threading.Thread(
            target=lambda: outputs.extend(jitconv.conv2d(PLAIN, WEIGHT).output for _ in range(20))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 80
    assert all(np.array_equal(y, expected) for y in outputs)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


def test_python_threads_on_the_workqueue_layer():
    code = """
import threading, numpy as np, jitconv
x, weight = np.ones((2, 2, 9, 9)), np.ones((3, 2, 3, 3))
work = lambda: [jitconv.conv2d(x, weight) for _ in range(50)]
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(jitconv.info()["threading layer"])
"""
    done = run_python(code, NUMBA_THREADING_LAYER="workqueue")
    assert done.returncode == 0, done.stderr
    if not numba.config.DISABLE_JIT:
        assert done.stdout.strip() == "workqueue"


def test_import_compiles_nothing_and_imports_no_matplotlib():
    code = """
import sys
from numba.core import event
with event.install_recorder("numba:compile") as recorded:
    import jitconv
assert not recorded.buffer, recorded.buffer
assert "matplotlib" not in sys.modules
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    """Without any folder for the cache, Numba raises while decorating; the loops are then compiled in each process."""
    code = """
import numba, numba.core.caching as caching
def refuse(*_): raise RuntimeError("cannot cache function: no locator available")
caching.FunctionCache.__init__ = refuse
import numpy as np, jitconv
print(jitconv.conv2d(np.ones((1, 3, 3)), np.ones((1, 1, 3, 3))).output.item())
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "9.0"


def test_kernels_and_their_parts_can_print():
    """A part's code lies in its kernel's; without Numba's environment there, it would wait for ever."""
    code = """
import numpy as np
from jitconv.jit import njit
@njit
def part(value):
    print("part", value)
@njit(jobs=True)
def loops(job, y):
    print("job", job)
    part(y[job])
loops(np.ones(1))
"""
    assert run_python(code).stdout == "job 0\npart 1.0\n"


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is cached")
@pytest.mark.parametrize("jobs", [False, True])
def test_processes_that_compile_at_once_write_files_of_their_own(monkeypatch, jobs):
    """Both see an empty index; one name for two signatures would run one's code on the other's arrays."""
    dispatcher = lines.line_loops.compiled.all if jobs else standard_loops.compiled
    file, names = dispatcher._cache._cache_file, []
    monkeypatch.setattr(file, "_load_index", dict)
    monkeypatch.setattr(file, "_save_index", lambda overloads: None)
    monkeypatch.setattr(file, "_save_data", lambda name, data: names.append(name))
    for key in ("float32", "float64", "float32"):
        file.save(key, None)
    assert names[0] == names[2] != names[1]


def test_what_a_factory_makes_for_other_sizes_has_a_name_of_its_own():
    """One process's cached code may else call what another's factory made, with as many types and another size."""

    def make(size):
        @jit.njit
        def kernel(x):
            return x * size

        return kernel.py_func.__qualname__

    assert make(1) == make(1) != make(2)
    # some are one and the same without AVX-512
    tiles = {lines.long, lines.two, lines.short, lines.long1, lines.short1}
    assert len({tile.py_func.__qualname__ for tile in tiles}) == len(tiles) > 2


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is cached")
@pytest.mark.slow
def test_a_damaged_cache_is_passed_over(tmp_path):
    code = """
import numpy as np, jitconv
print(jitconv.conv2d(np.ones((1, 3, 3)), np.ones((1, 1, 3, 3))).output.item())
"""
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).stdout == "9.0\n"
    damaged = list(tmp_path.glob("*/channels*.nbi"))
    assert damaged
    for index in damaged:
        index.write_bytes(index.read_bytes()[:50])
    done = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout == "9.0\n"
    assert f"Numba's cache in {tmp_path}" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_forked_process_says_what_is_wrong_or_works(layer):
    """GNU OpenMP ends a forked child at its first parallel loop, and a pool then waits for ever."""
    code = """
import multiprocessing, numpy as np, jitconv
def work(_):
    try:
        return jitconv.conv2d(np.ones((1, 3, 3)), np.ones((1, 1, 3, 3))).output.item()
    except RuntimeError as error:
        return str(error)
work(0)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map(work, [0])[0])
"""
    done = run_python(code, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"no {layer} on this machine")
    expected = "get_context('spawn')" if layer == "omp" and not numba.config.DISABLE_JIT else "9.0"
    assert expected in done.stdout


@pytest.mark.parametrize(
    "name", [name for name, variant in VARIANTS.items() if variant.direct is not None]
)
def test_the_plain_python_loops_are_at_hand(name):
    room = sys.modules[VARIANTS[name].direct.__module__]
    found = [loops for what, loops in vars(room).items() if what.endswith("_loops")]
    assert len(found) == 1
    assert found[0].py_func.__module__ == room.__name__


def test_plain_python_loops_count_the_same():
    from jitconv.variants.standard import standard_loops

    x, border = np.zeros((1, 2, 6, 30)), np.ones((6, 30), bool)
    x[:, :, 2:4, 2:28], border[2:4, 2:28] = 1, False
    results = []
    for loops in (standard_loops, standard_loops.py_func):
        y, counts = np.empty((1, 3, 4, 28)), np.zeros((12, 2), np.int64)
        loops(x, border, np.ones((3, 2, 3, 3)), np.zeros(3), y, (1, 1), counts)
        results.append((y, counts))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][1].sum(axis=0).tolist() == [3 * 2 * 9 * 4 * 28, 3 * 2 * (9 * 4 * 28 - 6 * 78)]
