"""What the house promises: records that fit their functions, and loops that need numpy, prange and other loops alone."""

import dis
import importlib
import inspect
import pkgutil
import re
from functools import partial
from pathlib import Path

import calls
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import jitconv
from jitconv import jit
from jitconv.costs import formulas
from jitconv.methods import METHODS
from jitconv.variants import VARIANTS, deformable

FRAMEWORKS = ("jitconv.models.examples", "jitconv.models.onnxfile", "jitconv.models.pytorch")
FRAMEWORKS += ("jitconv.models.modules", "jitconv.blockwise")
RECORDS = [*VARIANTS.values(), deformable.LAYER]


def modules():
    for found in pkgutil.walk_packages(jitconv.__path__, "jitconv."):
        if found.name != "jitconv.__main__" and not found.name.startswith(FRAMEWORKS):
            yield importlib.import_module(found.name)


def is_kernel(thing):
    return hasattr(thing, "py_func") or isinstance(thing, Dispatcher)


def kernels():
    for module in modules():
        source = inspect.getsource(module)
        for name, thing in vars(module).items():
            if (
                f"def {name}(" in source
                and "@njit" in source
                and (is_kernel(thing) or name.endswith("_loops"))
            ):
                yield module, name, getattr(thing, "py_func", thing)


def test_kernels_need_numpy_and_other_kernels_alone():
    found = list(kernels())
    assert len(found) >= 20
    for module, name, function in found:
        loads = [i for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"]
        for needed in {load.argval for load in loads}:
            thing = vars(module).get(needed)
            allowed = thing is np or thing is jit.prange or is_kernel(thing)
            allowed = allowed or (isinstance(thing, type) and hasattr(thing, "_fields"))
            allowed = allowed or needed in (
                "registers",
                "numbers",
                "move",
                "spread",
                "transpose",
                "transpose_rows",
            )
            assert thing is None or allowed or isinstance(thing, (int, float)), (name, needed)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_fits_its_function(record):
    parameters = inspect.signature(record.function).parameters
    assert list(parameters) == [
        name for name in parameters if name in record.keywords | set(record.arrays)
    ]
    assert set(record.arrays) <= set(parameters)
    assert "method" in record.keywords
    assert set(record.passes.values()) <= {*record.arrays, "numbers", "kept"}
    result = record.function(*record.small_call(), **record.options)
    report = result.report.verify()
    optional = {"mask", "mask branch"}
    assert list(report.parts) == [part for part in record.passes if part not in optional]
    assert report.variant == record.name
    assert hasattr(formulas, record.name.replace(" layer", "").replace(" ", "_"))


def test_the_nine_stand_in_the_documents_order():
    nine = [variant for variant in VARIANTS.values() if variant.section.startswith("§")]
    assert [variant.section for variant in nine] == [f"§{n}" for n in range(1, 10)]
    document = (Path(__file__).parents[1] / "docs" / "document.md").read_text(encoding="utf8")
    assert all(variant.korean.split()[0] in document for variant in nine)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_method_runs_a_call_or_says_which_does(record, method):
    call = partial(record.function, *record.small_call(), **record.options, method=method)
    refused = None
    try:
        ran = call().report.method
    except ValueError as error:
        refused = str(error)
    if refused is None:
        assert ran == method
        return
    assert method not in calls.methods(record)
    assert re.fullmatch(
        f"method: '{method}' (needs .*|has no loops for this .* convolution); "
        "write ('tiled' or )?'direct', or 'auto'",
        refused,
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_method_that_is_none(record):
    message = "method: must be one of 'auto', 'direct', 'tiled', 'winograd', got 'fast'"
    with pytest.raises(ValueError, match=message):
        record.function(*record.small_call(), **record.options, method="fast")


def test_what_has_moved_is_found_where_it_was():
    from jitconv.comparison import feature_maps, load_image

    from jitconv import tiles
    from jitconv.images import photo
    from jitconv.learn import lessons
    from jitconv.plots import lessons as told

    assert (load_image, feature_maps, told) == (photo.load_image, photo.feature_maps, lessons)
    assert tiles.registers is not None
    for old in (
        "comparison",
        "filters",
        "formulas",
        "plots.lessons",
        "report",
        "resample",
        "tiles",
    ):
        assert importlib.import_module(f"jitconv.{old}") is not None
    from jitconv.comparison import Comparison, compare

    assert (compare, Comparison) == (jitconv.compare, jitconv.Comparison)


@pytest.mark.parametrize("word", [[], np.array(["direct"]), None, 1])
def test_a_method_that_is_no_word(word):
    with pytest.raises(ValueError, match="method: must be one of"):
        jitconv.conv2d(np.ones((1, 3, 3)), np.ones((1, 1, 3, 3)), method=word)
