"""ONNX models: every node is what ONNX Runtime makes of it, and what is not measured is listed."""

import functools
import weakref
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import cbook

from jitconv.costs.report import CountMismatch
from jitconv.models import layers
from jitconv.models import shell as shell_words

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
onnxfile = pytest.importorskip("jitconv.models.onnxfile")
helper, numpy_helper, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
node = helper.make_node


def info(name, array):
    kind = kinds.STRING if array.dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, array.shape)


def free(*names):
    """float32 of any shape."""
    return [helper.make_tensor_value_info(name, kinds.FLOAT, None) for name in names]


def graph(nodes, inputs, outputs, constants=None):
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    return helper.make_graph(nodes, "graph", inputs, outputs, stored)


def model(made, **more):
    imports = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=10, **more)


@pytest.fixture
def measure(tmp_path):
    """Write a model, measure it, and see that ONNX Runtime's own run gives the same."""

    def measure(nodes, inputs, constants=None, outputs=("y",), same=True, **options):
        path = tmp_path / "net.onnx"
        given = [info(name, array) for name, array in inputs.items()]
        found = [onnx.ValueInfoProto(name=name) for name in outputs]
        onnx.save(model(graph(nodes, given, found, constants)), path)
        measured = onnxfile.run(path, inputs, **options).verify()
        if same:
            whole = onnxruntime.InferenceSession(path).run(None, inputs)
            for ours, theirs in zip(measured.output, whole, strict=True):
                assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
                if ours.dtype == object:
                    np.testing.assert_array_equal(ours, theirs)
                else:
                    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
        return measured

    return measure


def draw(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


WORDS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
IMAGE, LINE = (1, 4, 5, 6), (2, 4, 7)
CONV = [
    ("Conv", [IMAGE, (2, 4, 3, 2)], {}),
    ("Conv", [IMAGE, (2, 4, 3, 2), (2,)], {"kernel_shape": [3, 2], "strides": [2, 1]}),
    ("Conv", [IMAGE, (4, 2, 3, 2)], {"group": 2, "pads": [1, 0, 2, 3], "dilations": [1, 2]}),
    ("Conv", [IMAGE, (8, 1, 2, 2)], {"group": 4, "auto_pad": "NOTSET", "pads": [1, 0, 0, 1]}),
    ("Conv", [LINE, (3, 4, 3), (3,)], {"strides": [2], "pads": [2, 1], "dilations": [2]}),
    ("Conv", [LINE, (4, 2, 1)], {"group": 2}),
    ("Conv", [IMAGE, (3, 4, 1, 1), (3,)], {"strides": [2, 2]}),
    *[("Conv", [IMAGE, (2, 4, 2, 3)], {"auto_pad": word, "strides": [3, 1]}) for word in WORDS],
    *[("Conv", [LINE, (2, 4, 4)], {"auto_pad": word}) for word in WORDS],
    ("ConvTranspose", [IMAGE, (4, 2, 3, 2), (2,)], {"strides": [2, 1], "pads": [1, 0, 0, 1]}),
    ("ConvTranspose", [IMAGE, (4, 1, 3, 2)], {"group": 2, "dilations": [2, 1]}),
    ("ConvTranspose", [LINE, (4, 2, 3)], {"strides": [3], "output_padding": [2]}),
    *[
        (
            "ConvTranspose",
            [LINE, (4, 2, 4)],
            {"auto_pad": word, "strides": [2], "output_shape": [n]},
        )
        for word in WORDS
        for n in (13, 17)
    ],
    *[("ConvTranspose", [LINE, (4, 2, 4)], {"auto_pad": word, "strides": [3]}) for word in WORDS],
    *[("ConvTranspose", [LINE, (4, 2, 2)], {"auto_pad": word, "strides": [3]}) for word in WORDS],
]
PRODUCTS = [
    ("Gemm", [(3, 4), (4, 2)], {}),
    ("Gemm", [(3, 4), (2, 4), (2,)], {"transB": 1}),
    ("Gemm", [(4, 3), (2, 4), (3, 1)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [(3, 4), (4, 2), ()], {"alpha": 2.0}),
    ("Gemm", [(3, 4), (4, 2), (2,)], {"alpha": 0.5}),
    ("Gemm", [(3, 4), (4, 2), (1, 2)], {"beta": 3.0}),
    ("MatMul", [(3, 4), (4, 2)], {}),
    ("MatMul", [(2, 3, 4), (4, 2)], {}),
    ("MatMul", [(2, 3, 4), (2, 4, 2)], {}),
    ("MatMul", [(2, 1, 3, 4), (5, 4, 2)], {}),
    ("MatMul", [(3, 4), (2, 4, 2)], {}),
    ("MatMul", [(3, 4), (1, 1, 4, 2)], {}),
    ("MatMul", [(4,), (4,)], {}),
    ("MatMul", [(4,), (2, 4, 3)], {}),
    ("MatMul", [(2, 3, 4), (4,)], {}),
]


@pytest.mark.parametrize(("operation", "shapes", "options"), CONV + PRODUCTS)
def test_an_operation_is_onnx_runtimes(measure, operation, shapes, options):
    x, *weights = [draw(*shape, seed=n) for n, shape in enumerate(shapes)]
    constants = {f"w{n}": array for n, array in enumerate(weights)}
    measured = measure(
        [node(operation, ["x", *constants], ["y"], "layer", **options)], {"x": x}, constants
    )
    (row,) = measured.rows
    assert (row.name, row.role, row.operation) == ("layer", "forward", operation)
    assert (row.input_shape, row.output_shape) == (x.shape, measured.output[0].shape)
    assert row.difference.relative < 1e-5
    assert row.flop_counter is None
    assert row.parameters == sum(array.size for array in weights)
    assert not measured.not_measured
    if operation == "Conv":
        assert row.report.value("dense") == measured.output[0].size * weights[0][0].size
    elif operation == "ConvTranspose":
        assert row.report.value("document") == x[:, 0].size * weights[0].size
    else:
        assert row.multiplies == measured.output[0].size * 4
    if operation == "MatMul" and np.prod(weights[0].shape[:-2]) > 1:
        assert row.find_layer is None
        return
    images = len(x) if "Conv" in operation else 1
    (placed,) = measured.network.rows
    assert row.find_layer()[0].name == "layer"
    assert images * placed.costs["in bounds"] == row.report.multiplies_in_bounds


def test_what_beta_leaves_out_is_not_read(measure):
    constants = {"b": draw(4, 2), "c": np.float32([np.nan, 1])}
    measured = measure(
        [node("Gemm", ["x", "b", "c"], ["y"], beta=0.0)], {"x": draw(3, 4)}, constants
    )
    assert np.isfinite(measured.output[0]).all()


@pytest.mark.parametrize("options", [{}, {"strides": [2, 1], "dilations": [1, 2], "group": 2}])
@pytest.mark.parametrize("masked", [False, True])
def test_a_deformable_convolution(measure, options, masked):
    x, weight = draw(1, 4, 6, 5), draw(2, 4 // options.get("group", 1), 3, 2)
    ends = [1, 0, 0, 1]
    rows = (6 + 1 - 3) // options.get("strides", [1, 1])[0] + 1
    columns = 5 + 1 - options.get("dilations", [1, 1])[1]
    inputs = {"x": x, "offset": draw(1, 2 * 2 * 6, rows, columns, seed=1)}
    names = ["x", "w", "offset"]
    if masked:
        inputs["mask"] = np.abs(draw(1, 2 * 6, rows, columns, seed=2))
        names += ["", "mask"]
    made = node("DeformConv", names, ["y"], pads=ends, offset_group=2, **options)
    measured = measure([made], inputs, {"w": weight})
    (row,) = measured.rows
    assert (row.variant, row.parameters, row.find_layer) == ("deformable", weight.size, None)
    assert row.difference.relative < 1e-5


def test_which_geometry_a_product_has(measure):
    def row(operation, computed, constant, names):
        return measure([node(operation, names, ["y"])], computed, constant).rows[0]

    a, b = draw(3, 4), draw(4, 2)
    found = row("MatMul", {"b": b}, {"a": a}, "ab")
    layer, plane = found.find_layer()
    assert (layer.name, layer.channels, plane, found.parameters) == ("y", 3, (4, 2, 1), 12)
    found = row("MatMul", {"a": draw(2, 3, 4)}, {"b": b}, "ab")
    layer, plane = found.find_layer()
    assert (layer.channels, plane, found.parameters) == (2, (4, 6, 1), 8)
    found = row("MatMul", {"a": draw(2, 3, 4)}, {"b": draw(2, 4, 2)}, "ab")
    assert (found.find_layer, found.parameters) == (None, 16)
    found = row("Gemm", {"a": a, "b": b, "c": draw(2)}, {}, "abc")
    assert (found.find_layer, found.parameters) == (None, 0)
    found = row("Gemm", {"a": a}, {"b": b, "c": draw(2)}, "abc")
    layer, _ = found.find_layer()
    assert (layer.channels, layer.bias, found.parameters) == (2, True, 10)


def test_parameters_are_constants_each_counted_once(measure):
    constants = {"w": draw(4, 4), "b": draw(4), "two": np.float32([2])}
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"),
        node("Identity", ["w"], ["same"]),
        node("Transpose", ["same"], ["turned"]),
        node("MatMul", ["h", "w"], ["i"], "again"),
        node("MatMul", ["i", "turned"], ["j"], "turned"),
        node("Mul", ["w", "two"], ["double"]),
        node("MatMul", ["j", "double"], ["k"], "computed from constants"),
        node("Constant", [], ["c"], value=numpy_helper.from_array(draw(4, 3))),
        node("MatMul", ["k", "c"], ["l"], "a constant"),
        node("Constant", [], ["f"], value_floats=[1.0, 2.0, 3.0]),
        node("MatMul", ["l", "f"], ["m"], "floats"),
        node("Mul", ["double", "x"], ["n"]),
        node("MatMul", ["n", "n"], ["y"], "computed"),
    ]
    measured = measure(nodes, {"x": draw(4, 4)}, constants, ["y", "m"])
    assert {row.name: row.parameters for row in measured.rows} == {
        "first": 20,
        "again": 0,
        "turned": 0,
        "computed from constants": 16,
        "a constant": 12,
        "floats": 3,
        "computed": 0,
    }
    assert measured.parameters == 51
    assert [row.find_layer is None for row in measured.rows] == [False] * 6 + [True]
    assert measured.not_measured == {"Mul": 2}


def test_a_constant_that_is_stored_in_integers_is_counted_once(measure):
    nodes = [
        node("DequantizeLinear", ["w", "scale"], ["a"]),
        node("DequantizeLinear", ["w", "scale"], ["b"]),
        node("MatMul", ["x", "a"], ["h"]),
        node("MatMul", ["h", "b"], ["y"]),
    ]
    constants = {"w": np.arange(16, dtype=np.int8).reshape(4, 4), "scale": np.float32(0.5)}
    measured = measure(nodes, {"x": draw(3, 4)}, constants)
    assert [row.parameters for row in measured.rows] == [16, 0]


def test_parts_of_a_constant_are_parameters_of_their_own(measure):
    nodes = [
        node("Split", ["w"], ["left", "right"], axis=1, num_outputs=2),
        node("MatMul", ["x", "left"], ["h"]),
        node("MatMul", ["h", "right"], ["y"]),
    ]
    measured = measure(nodes, {"x": draw(3, 4)}, {"w": draw(4, 8)})
    assert [row.parameters for row in measured.rows] == [16, 16]


def test_a_model_with_nothing_to_measure(measure):
    measured = measure([node("Relu", ["x"], ["y"])], {"x": draw(3, 4)})
    assert measured.flop_counter is None
    assert "FlopCounterMode" not in str(measured)


def test_an_image_in_the_file_is_no_parameter(measure):
    nodes = [node("Conv", ["image", "w"], ["h"]), node("Add", ["h", "x"], ["y"])]
    constants = {"image": draw(1, 2, 4), "w": draw(3, 2, 2)}
    assert measure(nodes, {"x": draw(3)}, constants).parameters == 12


def branches():
    wide = graph(
        [node("Conv", ["h", "w"], ["wide"], "wide", pads=[1, 1]), node("Relu", ["wide"], ["a"])],
        [],
        free("a"),
        {"w": draw(2, 3, 3)},
    )
    narrow = graph(
        [node("Conv", ["h", "w"], ["b"], "narrow"), node("Identity", ["k"], ["unused"])],
        [],
        free("b"),
        {"w": draw(2, 3, 1)},
    )
    return wide, narrow


@pytest.mark.parametrize("wide", [True, False])
def test_a_branch_is_measured(measure, wide):
    then, other = branches()
    nodes = [
        node("Neg", ["x"], ["h"]),
        node("Neg", ["x"], ["k"]),
        node("If", ["which"], ["g"], then_branch=then, else_branch=other),
        node("Add", ["g", "g"], ["y"]),
    ]
    measured = measure(nodes, {"which": np.array(wide), "x": draw(1, 3, 5)})
    (row,) = measured.rows
    assert (row.name, row.parameters) == (("wide", 18) if wide else ("narrow", 6))
    assert measured.not_measured == {"Neg": 2, "Add": 1} | ({"Relu": 1} if wide else {})


@pytest.mark.parametrize("fixed", [True, False])
def test_what_a_branch_gives_is_constant_if_the_condition_is(measure, fixed):
    then, other = (
        graph([node("Identity", [name], [f"{name}2"])], [], free(f"{name}2")) for name in "ab"
    )
    nodes = [
        node("If", ["which"], ["w"], then_branch=then, else_branch=other),
        node("MatMul", ["x", "w"], ["y"]),
    ]
    constants = {"a": draw(3, 2), "b": draw(3, 4)}
    which = {"which": np.array(True)}
    inputs = {"x": draw(2, 3)} | ({} if fixed else which)
    measured = measure(nodes, inputs, constants | (which if fixed else {}))
    assert measured.parameters == (6 if fixed else 0)


def test_a_loop_is_listed_with_what_it_holds(measure):
    inside = graph([node("Conv", ["h", "w"], ["g"])], [], free("g"), {"w": draw(2, 2, 1)})
    body = graph(
        [
            node("Conv", ["old", "w"], ["h"], pads=[1, 1]),
            node("If", ["go"], ["new"], then_branch=inside, else_branch=inside),
            node("Identity", ["go"], ["on"]),
        ],
        [info("step", np.array(0)), info("go", np.array(True)), *free("old")],
        [info("on", np.array(True)), *free("new")],
    )
    nodes = [node("Abs", ["v"], ["w"]), node("Loop", ["times", "", "x"], ["y"], body=body)]
    constants = {"times": np.array(3)}
    measured = measure(nodes, {"x": draw(1, 2, 5), "v": draw(2, 2, 3)}, constants)
    assert measured.not_measured == {"Abs": 1, "Loop": 1, "Conv in Loop": 3}
    assert measured.rows == []
    assert "not measured: Abs 1, Loop 1, Conv in Loop 3" in str(measured)


def test_a_scan_knows_the_shapes_that_constants_tell(measure):
    nodes = [node("Squeeze", ["row", "axes"], ["h"]), node("MatMul", ["h", "w"], ["new"])]
    body = graph(nodes, free("row"), free("new"))
    constants = {"axes": np.array([0]), "w": draw(4, 3)}
    made = node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    measured = measure([made], {"x": draw(5, 1, 4)}, constants)
    assert measured.not_measured == {"Scan": 1, "MatMul in Scan": 1}


@pytest.mark.parametrize(
    ("made", "arrays", "listed"),
    [
        (node("Conv", "ab", "y"), [draw(1, 2, 3, 3, 3), draw(1, 2, 2, 2, 2)], "Conv"),
        (node("Conv", "ab", "y"), [draw(0, 2, 3, 3), draw(1, 2, 2, 2)], "Conv"),
        (node("MatMul", "ab", "y"), [np.ones((2, 2), int), np.ones((2, 2), int)], "MatMul"),
        (node("MatMul", "ab", "y"), [draw(2, 0), draw(0, 2)], "MatMul"),
        (
            node("FusedMatMul", "ab", "y", domain="com.microsoft"),
            [draw(2, 2), draw(2, 2)],
            "com.microsoft.FusedMatMul",
        ),
        (node("Relu", "a", "y"), [draw(2, 2)], "Relu"),
        (node("Relu", "a", "y", domain="ai.onnx"), [draw(2, 2)], "Relu"),
        (node("Concat", "aa", "y", axis=0), [draw(2, 2)], None),
        (node("StringConcat", "aa", "y"), [np.array(["x", "y"])], "StringConcat"),
        (node("Shape", "a", "y"), [draw(2, 2)], None),
    ],
    ids=str,
)
def test_what_is_not_measured(measure, made, arrays, listed):
    measured = measure([made], dict(zip("ab", arrays, strict=False)))
    assert measured.rows == []
    assert measured.not_measured == ({} if listed is None else {listed: 1})
    assert measured.difference is None


def test_half_precision(measure):
    x, weight = draw(1, 2, 5, dtype=np.float16), draw(2, 2, 3, dtype=np.float16)
    nodes = [node("Conv", ["x", "w", ""], ["h"]), node("Relu", ["h"], ["y"])]
    (row,) = measure(nodes, {"x": x}, {"w": weight}).rows
    assert row.note == "float16 computed in float32"
    assert row.difference.relative < 1e-3
    measured = measure(nodes, {"x": x}, {"w": np.full_like(weight, 65504)}, compare=False)
    assert np.isinf(measured.output[0]).any()


def test_double_precision(measure):
    a, b = draw(3, 4, dtype=np.float64), draw(4, 2, dtype=np.float64)
    measured = measure([node("MatMul", ["a", "b"], ["y"])], {"a": a}, {"b": b})
    np.testing.assert_allclose(measured.output[0], a @ b, rtol=1e-13)
    assert (measured.difference.relative < 1e-13, measured.rows[0].note) == (True, "")


def test_a_type_without_a_kernel_is_run_by_the_reference(measure):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    nodes = [node("Conv", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])]
    x, weight = draw(1, 2, 5), draw(2, 2, 3)
    for dtype in bfloat16, np.float64:
        inputs, constants = {"x": x.astype(dtype)}, {"w": weight.astype(dtype)}
        measured = measure(nodes, inputs, constants, same=False)
        (row,) = measured.rows
        wanted = measure(nodes, {"x": x}, {"w": weight}).output[0]
        np.testing.assert_allclose(
            measured.output[0].astype(np.float32), wanted, rtol=0.1, atol=0.1
        )
        assert measured.output[0].dtype == dtype
        assert row.difference is None
        assert row.note.endswith("not compared, as ONNX Runtime cannot run it")
        assert row.note.startswith("bfloat16 computed in float32") == (dtype == bfloat16)


def test_outputs_that_nobody_wants_and_sequences(measure):
    nodes = [
        node("LSTM", ["x", "w", "r"], ["", "last"], hidden_size=1),
        node("SequenceEmpty", [], ["none"]),
        node("SequenceInsert", ["none", "last"], ["one"]),
        node("SequenceInsert", ["one", "last"], ["both"]),
        node("ConcatFromSequence", ["both"], ["h"], axis=1),
        node("Split", ["h"], ["left", "right"], axis=1, num_outputs=2),
        node("Clip", ["left", "", "top"], ["y"]),
    ]
    constants = {"w": draw(1, 4, 3), "r": draw(1, 4, 1), "top": np.float32(0.01)}
    measured = measure(nodes, {"x": draw(2, 1, 3)}, constants)
    assert measured.not_measured == {"LSTM": 1, "Clip": 1}


def test_values_are_dropped_after_their_last_reader(measure, monkeypatch):
    alive, most = [], []
    run = onnxfile.Interpreter.node

    def watched(self, made, given):
        most.append(sum(ref() is not None for ref in alive))
        found = run(self, made, given)
        alive.extend(weakref.ref(value.data) for value in found)
        return found

    monkeypatch.setattr(onnxfile.Interpreter, "node", watched)
    nodes = [node("Conv", [f"h{n}", "w"], [f"h{n + 1}"]) for n in range(6)]
    nodes += [node("Split", ["h1"], ["left", "right"], axis=1, num_outputs=2)]
    nodes += [node("Neg", ["right"], ["turned"]), node("Add", ["turned", "h6"], ["y"])]
    measured = measure(nodes, {"h0": draw(1, 2, 4)}, {"w": draw(2, 2, 1)})
    assert most == [0, 1, 2, 2, 2, 2, 2, 2, 2]
    assert sum(ref() is not None for ref in alive) == 1  # the output
    del measured
    assert sum(ref() is not None for ref in alive) == 0


def test_each_row_is_told_and_comparing_is_a_choice(measure):
    rows = []
    nodes = [node("Conv", ["x", "w"], ["y"])]
    inputs, constants = {"x": draw(1, 2, 5)}, {"w": draw(2, 2, 3)}
    measured = measure(nodes, inputs, constants, compare=False, each=rows.append)
    assert rows == measured.rows
    assert [row.difference for row in rows] == [None]
    assert measured.name == "net"


def test_a_wrong_output_and_a_wrong_count_are_seen(measure, monkeypatch):
    convolve = layers.convolve
    nodes = [node("Conv", ["x", "w"], ["y"], "wrong")]
    inputs, constants = {"x": draw(1, 2, 5)}, {"w": draw(2, 2, 3)}

    def one_value_off(*call):
        y, report = convolve(*call)
        y[0, 1, 2] += 0.5
        return y, report

    monkeypatch.setattr(layers, "convolve", one_value_off)
    measured = measure(nodes, inputs, constants, same=False)
    assert measured.difference.absolute == pytest.approx(0.5, abs=1e-5)

    def one_multiply_off(*call):
        y, report = convolve(*call)
        first, *others = report.passes
        return y, replace(report, passes=(first._replace(multiplies=first.multiplies + 1), *others))

    monkeypatch.setattr(layers, "convolve", one_multiply_off)
    with pytest.raises(CountMismatch, match="wrong: "):
        measure(nodes, inputs, constants)


def test_functions_and_weights_in_other_files(tmp_path):
    x, weight = draw(1, 2, 5), draw(2, 2, 3)
    made = helper.make_function(
        "mine",
        "Block",
        ["a", "w"],
        ["b"],
        [node("Conv", ["a", "w"], ["b"])],
        [helper.make_opsetid("", 22)],
    )
    call = graph(
        [node("Block", ["x", "w"], ["y"], domain="mine")], [info("x", x)], free("y"), {"w": weight}
    )
    whole = model(call, functions=[made])
    whole.opset_import.append(helper.make_opsetid("mine", 1))
    path = tmp_path / "net.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="weights", size_threshold=0)
    (row,) = onnxfile.run(path, [x]).rows
    assert (row.operation, row.parameters) == ("Conv", 12)
    assert onnxfile.signature(path) == [("x", np.float32, (1, 2, 5))]
    (tmp_path / "weights").unlink()
    with pytest.raises(ValueError, match=r"net.onnx is no ONNX model: .*weights"):
        onnxfile.run(path, [x])


@pytest.fixture
def picky(tmp_path):
    """A model with inputs of all sorts."""
    made = graph(
        [node("Conv", ["x", "w"], ["y"]), node("Identity", ["n"], ["m"])],
        [
            helper.make_tensor_value_info("x", kinds.FLOAT, ["batch", 2, None, 0]),
            helper.make_tensor_value_info("n", kinds.INT64, None),
            helper.make_tensor_value_info("w", kinds.FLOAT, [1, 2, 1, 1]),
        ],
        [onnx.ValueInfoProto(name=name) for name in "ym"],
        {"w": np.ones((1, 2, 1, 1), np.float32)},
    )
    path = tmp_path / "picky.onnx"
    onnx.save(model(made), path)
    return path


def test_inputs_by_order_and_by_name(picky):
    assert onnxfile.signature(picky) == [
        ("x", np.float32, ("batch", 2, "?", "?")),
        ("n", np.int64, None),
    ]
    x, n = np.ones((1, 2, 3, 3), np.float32), np.array(3)
    measured = onnxfile.run(picky, (x, n))
    assert measured.parameters == 2
    assert (measured.output[0] == 2).all()
    named = {"n": n, "x": np.asfortranarray(x), "w": np.full((1, 2, 1, 1), 3, np.float32)}
    measured = onnxfile.run(picky, named)
    assert measured.parameters == 0
    assert (measured.output[0] == 6).all()


WANTED = r"give x: float32 \(batch, 2, \?, \?\); n: int64, any shape"


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([draw(1, 2, 3, 3)], ValueError, "inputs: must be 2, got 1; " + WANTED),
        ([], ValueError, "inputs: must be 2, got 0; " + WANTED),
        ({"x": draw(1, 2, 3, 3)}, ValueError, "must have the model's names, got x; " + WANTED),
        ({}, ValueError, "must have the model's names, got none; " + WANTED),
        (
            {"x": draw(1, 2, 3, 3), "n": 1, "z": 1},
            ValueError,
            "must have the model's names, got x, n, z; " + WANTED,
        ),
        (
            [draw(1, 2, 3, 3, dtype=np.float64), 1],
            TypeError,
            r"x: must be float32 \(batch, 2, \?, \?\), got float64 \(1, 2, 3, 3\); "
            r"convert it first: x.astype\(np.float32\)",
        ),
        ([draw(1, 2, 3, 3).astype(np.uint8), 1], TypeError, "x: must be float32 .* got uint8"),
        (
            [draw(1, 2, 3, 3), 1.0],
            TypeError,
            r"n: must be int64, any shape, got float64 \(\); conv",
        ),
        ([draw(2, 3, 3), 1], ValueError, r"it needs 4 axes: x\[np.newaxis\] adds one"),
        ([draw(1, 1, 2, 3, 3), 1], ValueError, r"it needs 4 axes: x\[0\] drops one"),
        (
            [draw(1, 3, 3, 2), 1],
            ValueError,
            r"got float32 \(1, 3, 3, 2\); the file fixes axis 1: give 2",
        ),
    ],
)
def test_inputs_that_do_not_fit(picky, inputs, error, message):
    with pytest.raises(error, match=message):
        onnxfile.run(picky, inputs)


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(FileNotFoundError):
        onnxfile.run(tmp_path / "none.onnx", [])
    for content in (b"", b"no model"):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.onnx is no ONNX model: "):
            onnxfile.run(tmp_path / "bad.onnx", [])


def test_a_node_that_cannot_run_is_named(measure, monkeypatch):
    def refuse(*call):
        raise ValueError("too hard")

    def run(made, **constants):
        measure([made], {"x": draw(1, 2, 3, 3)}, constants, same=False)

    with pytest.raises(ValueError, match=r"stem \(Conv\): .*ONNXRuntimeError.*channels"):
        run(node("Conv", ["x", "w"], ["y"], "stem"), w=draw(1, 3, 1, 1))
    with pytest.raises(ValueError, match=r"y \(Conv\): .*ONNXRuntimeError.*input shape"):
        run(node("Conv", ["x", "w"], ["y"]), w=draw(1, 2, 5, 1))
    monkeypatch.setattr(layers, "convolve", refuse)
    with pytest.raises(ValueError, match=r"y \(Conv\): too hard"):
        run(node("Conv", ["x", "w"], ["y"]), w=draw(1, 2, 1, 1))
    with pytest.raises(ValueError, match=r"y \(Reshape\): .*ONNXRuntimeError"):
        run(node("Reshape", ["x", "s"], ["y"]), s=np.array([5]))
    with pytest.raises(ValueError, match=r"y \(mine.Relu\): "):
        run(node("Relu", ["x"], ["y"], domain="mine"))
    with pytest.raises(ValueError, match="z: is read, but no node before makes it"):
        run(node("Add", ["x", "z"], ["y"]))


def test_options_that_exclude_each_other(measure):
    def run(**options):
        made = node("Conv", ["x", "w"], ["y"], **options)
        measure([made], {"x": draw(1, 2, 5, 5)}, {"w": draw(1, 2, 3, 3)}, same=False)

    for word in ("VALID", "SAME_UPPER"):
        with pytest.raises(ValueError, match=r"ONNXRuntimeError|pads exclude each other"):
            run(auto_pad=word, pads=[1, 1, 1, 1])
    with pytest.raises(ValueError, match=r"ONNXRuntimeError|kernel_shape: must be the weight's"):
        run(kernel_shape=[2, 2])


def sparse(name, places):
    values = helper.make_tensor(name, kinds.FLOAT, (2,), [2.0, 3.0])
    where = helper.make_tensor("", kinds.INT64, np.shape(places), np.ravel(places))
    return helper.make_sparse_tensor(values, where, (3, 2))


@pytest.mark.parametrize("places", [[1, 4], [(0, 1), (2, 0)]])
@pytest.mark.parametrize("stored", [True, False])
def test_a_sparse_constant_has_its_zeros(tmp_path, places, stored):
    x, path = draw(4, 3), tmp_path / "net.onnx"
    weight = sparse("w", places)
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    if not stored:
        nodes.insert(0, node("Constant", [], ["w"], sparse_value=weight))
    made = graph(nodes, [info("x", x)], free("y"))
    made.sparse_initializer.extend([weight] * stored)
    onnx.save(model(made), path)
    measured = onnxfile.run(path, [x]).verify()
    np.testing.assert_allclose(measured.output[0], x @ [[0, 2], [0, 0], [3, 0]], rtol=1e-6)
    assert (measured.multiplies, measured.parameters) == (4 * 3 * 2, 3 * 2)


def test_numbers_of_the_file_that_cannot_be_read(tmp_path):
    made = graph([node("Add", ["x", "w"], ["y"])], free("x"), free("y"), {"w": draw(3)})
    made.initializer[0].raw_data = b"12345"
    onnx.save(model(made), tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="w: the file's numbers cannot be read: "):
        onnxfile.run(tmp_path / "net.onnx", [draw(3)])
    made = graph([node("Relu", ["x"], ["y"])], free("x"), free("y"))
    made.input[0].type.tensor_type.elem_type = 77
    onnx.save(model(made), tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="x: has no type that is known"):
        onnxfile.run(tmp_path / "net.onnx", [draw(3)])


def test_attention_is_its_two_products(tmp_path):
    inputs = {word: draw(1, heads, 5, 8) for word, heads in (("q", 4), ("k", 2), ("v", 2))}
    nodes = [
        *[node("Neg", [word], [f"-{word}"]) for word in inputs],
        node("Attention", ["-q", "-k", "-v"], ["y"], is_causal=1),
    ]
    made = graph(nodes, [info(*given) for given in inputs.items()], free("y"))
    imports = [helper.make_opsetid("", 23)]
    onnx.save(helper.make_model(made, opset_imports=imports, ir_version=10), tmp_path / "net.onnx")
    measured = onnxfile.run(tmp_path / "net.onnx", inputs).verify()
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    np.testing.assert_allclose(measured.output[0], session.run(None, inputs)[0], atol=1e-6)
    assert [row.multiplies for row in measured.rows] == [4 * 5 * 5 * 8] * 2


def test_types_that_cannot_be_given_or_passed_on(tmp_path):
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(kinds.FLOAT, None))
    made = graph(
        [node("SequenceLength", ["s"], ["y"])], [helper.make_value_info("s", kind)], free("y")
    )
    onnx.save(model(made), tmp_path / "net.onnx")
    with pytest.raises(
        ValueError, match="s: must be a tensor, but the model takes a sequence_type"
    ):
        onnxfile.signature(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="reads a value of type map"):
        onnxfile._parsed("seq(map(int64,tensor(float)))")


def test_a_truth_value_from_the_shell(shell, tmp_path):
    nodes = [node("Where", ["s", "x", "zero"], ["h"]), node("Conv", ["h", "w"], ["y"])]
    given = [
        helper.make_tensor_value_info("x", kinds.FLOAT, [1, 1, 2, 2]),
        helper.make_tensor_value_info("s", kinds.BOOL, []),
    ]
    constants = {"zero": np.zeros(1, np.float32), "w": draw(1, 1, 1, 1)}
    onnx.save(model(graph(nodes, given, free("y"), constants)), tmp_path / "net.onnx")
    for word, wanted in (("0", False), ("False", False), ("1", True), ("true", True)):
        _, inputs, _ = shell_words.prepare("net.onnx", [f"s={word}"], None, 0)
        assert inputs[1].tolist() is wanted
    status, _, error = shell("measure", "net.onnx", "--input", "s=2")
    assert (status, "--input: must be one bool, got '2'" in error) == (2, True)


def test_the_command(shell, tmp_path):
    weight = draw(2, 3, 3, 3)
    nodes = [node("Conv", ["x", "w"], ["h"], "conv"), node("Mul", ["h", "scale"], ["y"])]
    sizes = ["N", 3, "H", 8]
    given = [
        helper.make_tensor_value_info("x", kinds.FLOAT, sizes),
        helper.make_tensor_value_info("scale", kinds.FLOAT, []),
    ]
    onnx.save(model(graph(nodes, given, free("y"), {"w": weight})), tmp_path / "net.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    run = functools.partial(shell, "measure")
    status, lines, _ = run("net.onnx", "--input", "1x3x6x8", "--input", "scale=2.5")
    assert status == 0
    assert lines[1:3] == [
        "input x: 1×3×6×8 float32, random, seed 0",
        "input scale:  float32, as given",
    ]
    assert lines[5].split()[:5] == ["conv", "standard", "1×2×4×6", "1,296", "✓"]
    assert "net: 54 parameters, 1,296 multiplies in 1 call" in lines
    assert lines[-1] == "not measured: Mul 1"
    photo = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    _, lines, _ = run("net.onnx", "--image", photo, "--depth", "1")
    assert lines[1] == "input x: 1×3×600×8 float32, grace_hopper.jpg"
    for arguments, message in (
        (["net.onnx"], "x takes the shape N×3×H×8; give its sizes, such as --input x=1x3x224x8"),
        (["net.onnx", "--input", "z=1"], "net.onnx has no input z; it has x, scale"),
        (["net.onnx", "--input", "x=1", "--input", "x=2"], "--input: x is given twice"),
        (["net.onnx", "--input", "1x3x6x8", "--input", "scale=a"], "must be one float32, got 'a'"),
        (["net.onnx", "--input", "1x2x6x8"], "x: must be float32 (N, 3, H, 8), got float32 (1, 2,"),
        (["broken.onnx"], "broken.onnx is no ONNX model"),
        (["none.onnx"], "No such file or directory: 'none.onnx'"),
    ):
        status, _, error = run(*arguments)
        assert status == 2
        assert message in error
