"""ONNX: an interpreter of the graph, with ONNX Runtime as its library of operations.

Nodes run one by one. jitconv's loops answer convolutions and matrix products, and the model goes on
with what they return; ONNX Runtime runs any other node, and those again to compare, each as a model
of one node. What it has no kernel for, onnx's own reference runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from ..checks import FLOATS
from ..costs.report import CostReport
from ..networks import Layer
from ..variants.deformable import deform_conv2d
from . import layers
from .layers import Geometry
from .measured import Difference, Measured, Row

# Their output is the first input, in another shape or type: a weight stays that weight.
RENAMES = {
    *("Cast", "CastLike", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose"),
    "Unsqueeze",
}
# They make or move numbers, and calculate none.
MOVES = RENAMES | {
    *("BitCast", "CenterCropPad", "Compress", "Concat", "ConcatFromSequence", "Constant"),
    *("ConstantOfShape", "DepthToSpace", "Expand", "EyeLike", "Gather", "GatherElements"),
    *("GatherND", "OneHot", "Optional", "OptionalGetElement", "OptionalHasElement", "Pad", "Range"),
    *("ReverseSequence", "Scatter", "ScatterElements", "ScatterND", "SequenceAt"),
    *("SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
    *("Shape", "Size", "Slice", "SpaceToDepth", "Split", "SplitToSequence", "TensorScatter"),
    *("Tile", "Trilu", "Where"),
}
ERRORS: Any = tuple(
    word for word in vars(errors).values() if isinstance(word, type) and issubclass(word, Exception)
)
# By the input that is its weight if it is constant: an operation's geometry.
Data = dict[int, tuple[Layer, tuple[int, int, int]]]
Answer = tuple[np.ndarray, CostReport, Data]
# A free size is a string; no shape is any shape.
Shape = tuple[int | str, ...] | None
File = str | PathLike[str]


class Value(NamedTuple):
    """What a name of the graph stands for: a tensor, a sequence or an empty optional."""

    data: Any
    root: object | None = None  # which constant it is; None if it depends on the model's inputs
    kind: str = ""  # the type of what is no tensor, in ONNX Runtime's words


def run(
    path: File,
    inputs: Sequence[Any] | Mapping[str, Any],
    compare: bool = True,
    each: Callable[[Row], object] | None = None,
) -> Measured:
    """Measure an ONNX model: see `jitconv.measure`.

    Parameters
    ----------
    path : path
        The model's file.
    inputs : sequence or mapping of array_like
        In the order of the graph's inputs, or by their names.
    compare : bool
        Whether ONNX Runtime computes each layer too.
    each : callable, optional
        Called with each row.

    Returns
    -------
    Measured
        Its `output` is a list, in the order of the graph's outputs.

    Raises
    ------
    OSError
        If the file cannot be read.
    TypeError, ValueError
        If it holds no model, if the inputs are not its graph's, or if a node cannot run.
    """
    model = _load(path)
    values = _bound(model.graph, inputs)
    measured = Measured(Path(path).stem)
    outputs = Interpreter(model, measured, compare, each).graph(model.graph, values)
    measured.output = [value.data for value in outputs]
    return measured


def signature(path: File) -> list[tuple[str, np.dtype, Shape]]:
    """Return name, data type and shape of each input that a model needs, in order.

    A free size is a string: its name, or "?". The shape is None where any will do.
    """
    return [(name, *kind) for name, kind in _inputs(_load(path, weights=False).graph).items()]


def _load(path: File, weights: bool = True) -> Any:
    try:
        model = onnx.load(path, load_external_data=weights)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no ONNX model: {error}") from None
    if not model.opset_import:
        raise ValueError(f"{path} is no ONNX model: it names no set of operations")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model, convert_version=True)
    if any(_operation(node) == "Attention" for node in model.graph.node):  # by its two products
        which = [("", "Attention")]
        model = onnx.inliner.inline_selected_functions(model, which, inline_schema_functions=True)
    return model


def _array(name: str, stored: Any) -> np.ndarray:
    """Return what a tensor of the file holds, a sparse one with its zeros."""
    try:
        if isinstance(stored, onnx.SparseTensorProto):
            values, places = map(numpy_helper.to_array, (stored.values, stored.indices))
            array = np.zeros(tuple(stored.dims), values.dtype)
            array[
                np.unravel_index(places, array.shape) if places.ndim == 1 else tuple(places.T)
            ] = values
            return array
        return numpy_helper.to_array(stored)
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: the file's numbers cannot be read: {error}") from error


def _inputs(graph: Any, optional: bool = False) -> dict[str, tuple[np.dtype, Shape]]:
    """Return the inputs; where asked, with those for which the file has a value."""
    stored, found = {tensor.name for tensor in graph.initializer}, {}
    for given in graph.input:
        kind = given.type.tensor_type
        if given.name in stored and not optional:
            continue
        if not given.type.HasField("tensor_type"):
            what = given.type.WhichOneof("value")
            raise ValueError(f"{given.name}: must be a tensor, but the model takes a {what} for it")
        # some exporters write 0 or −1 for a free size
        sizes = [d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in kind.shape.dim]
        shape = tuple(sizes) if kind.HasField("shape") else None
        try:
            found[given.name] = helper.tensor_dtype_to_np_dtype(kind.elem_type), shape
        except KeyError:
            raise ValueError(f"{given.name}: has no type that is known") from None
    return found


def _words(dtype: np.dtype, shape: Shape) -> str:
    return f"{dtype} ({', '.join(map(str, shape))})" if shape is not None else f"{dtype}, any shape"


def _bound(graph: Any, inputs: Sequence[Any] | Mapping[str, Any]) -> dict[str, Value]:
    needed, declared = _inputs(graph), _inputs(graph, optional=True)
    wanted = "; ".join(f"{name}: {_words(*kind)}" for name, kind in needed.items()) or "none"
    if not isinstance(inputs, Mapping):
        if len(inputs) != len(needed):
            raise ValueError(f"inputs: must be {len(needed)}, got {len(inputs)}; give {wanted}")
        inputs = dict(zip(needed, inputs, strict=True))
    if not {*needed} <= {*inputs} <= {*declared}:
        got = ", ".join(map(str, inputs)) or "none"
        raise ValueError(f"inputs: must have the model's names, got {got}; give {wanted}")
    return {name: Value(_checked(name, x, *declared[name])) for name, x in inputs.items()}


def _checked(name: str, x: Any, dtype: np.dtype, shape: Shape) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind == "U":
        array = array.astype(object)
    must = f"{name}: must be {_words(dtype, shape)}, got {_words(array.dtype, array.shape)}; "
    if array.dtype != dtype:
        raise TypeError(must + f"convert it first: {name}.astype(np.{dtype})")
    if shape is not None and array.ndim != len(shape):
        fix = f"{name}[np.newaxis] adds one" if array.ndim < len(shape) else f"{name}[0] drops one"
        raise ValueError(must + f"it needs {len(shape)} axes: {fix}")
    for axis, (size, got) in enumerate(zip(shape or (), array.shape, strict=False)):
        if isinstance(size, int) and size != got:
            raise ValueError(must + f"the file fixes axis {axis}: give {size}")
    return array


class Interpreter:
    """Runs the nodes of a model, and adds a row for each that jitconv answers."""

    def __init__(
        self, model: Any, measured: Measured, compare: bool, each: Callable[[Row], object] | None
    ):
        self.model, self.measured, self.compare, self.each = model, measured, compare, each
        self._counted: set[object] = set()
        self._sessions: dict[bytes, Any] = {}

    def graph(self, graph: Any, values: dict[str, Value]) -> list[Value]:
        """Run a graph on its inputs and what it captures, and return its outputs.

        Each value is forgotten when its last reader has it.
        """
        stored = {tensor.name: tensor for tensor in graph.initializer}
        stored |= {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        outputs = [output.name for output in graph.output]
        readers = Counter([*outputs, *(name for node in graph.node for name in _reads(node))])

        def read(name: str) -> Value:
            if name not in values and name in stored:
                values[name] = Value(_array(name, stored[name]), object())
            if name not in values:
                raise ValueError(f"{name}: is read, but no node before makes it")
            readers[name] -= 1
            return values[name] if readers[name] else values.pop(name)

        for node in graph.node:
            given = {name: read(name) for name in _reads(node)}
            for name, value in zip(node.output, self.node(node, given), strict=True):
                if readers[name]:
                    values[name] = value
        return [read(name) for name in outputs]

    def node(self, node: Any, given: dict[str, Value]) -> list[Value]:
        """Run a node on the values that it reads, and return a value for each output."""
        operation, options = _operation(node), _options(node)
        if operation == "If":
            condition = given[node.input[0]]
            branch = options["then_branch" if condition.data.item() else "else_branch"]
            found = self.graph(branch, {name: given[name] for name in _captured(branch)})
            return found if condition.root else [value._replace(root=None) for value in found]
        row = None
        try:
            if operation in ANSWERS and (answered := self._answered(operation, node, given)):
                found, row = answered
            elif operation == "Constant" and {"value", "sparse_value"} & {*options}:
                found = [Value(_array(word, stored)) for word, stored in options.items()]
            else:
                found = self._run(node, given)
        except (*ERRORS, NotImplementedError, TypeError, ValueError) as error:
            raise ValueError(f"{_name(node)} ({operation}): {error}") from error
        if row is not None:
            self.measured.rows.append(row)
            if self.each is not None:
                self.each(row)
        elif operation not in MOVES:
            inside = [f"{word} in {operation}" for word in _operations(node) if word in ANSWERS]
            for word in (operation, *inside):
                self.measured.not_measured[word] = self.measured.not_measured.get(word, 0) + 1
        roots = [value.root for value in given.values()]
        if operation == "Constant" or (roots and all(roots)):
            renamed = operation in RENAMES or operation == "DequantizeLinear"
            found = [value._replace(root=roots[0] if renamed else object()) for value in found]
        return found

    def _answered(
        self, operation: str, node: Any, given: dict[str, Value]
    ) -> tuple[list[Value], Row] | None:
        """Run a node on jitconv's loops; None where there are none for such arrays."""
        answer, weights, axes = ANSWERS[operation]
        inputs = [given.get(name, Value(None)) for name in node.input]
        arrays = [value.data for value in inputs]
        dtype = arrays[0].dtype
        half = dtype.name in ("float16", "bfloat16")
        if not (half or dtype in FLOATS) or arrays[0].ndim not in axes:
            return None
        if any(x is not None and x.size == 0 for x in arrays):
            return None

        def work() -> Answer:
            read = [x.astype(np.float32) if half and x is not None else x for x in arrays]
            output, report, data = answer(_options(node), *read)
            with np.errstate(over="ignore"):
                return output.astype(dtype, copy=False), report, data

        try:
            (output, report, data), seconds = layers.timed(work)
        except (TypeError, ValueError):
            self._runtime(node, given)  # what it refuses too, it says in its own words
            raise
        notes, difference = [f"{dtype} computed in float32"] if half else [], None
        if self.compare:
            try:
                pair = output, self._runtime(node, given)[0].data
                difference = Difference.between(
                    *(y.astype(np.float32) if half else y for y in pair)
                )
            except (*ERRORS, RuntimeError):
                notes.append("not compared, as ONNX Runtime cannot run it")
        fresh: dict[object, tuple[int, int]] = {}  # input and size
        for n in weights:
            if n < len(inputs) and inputs[n].root and inputs[n].root not in self._counted:
                fresh[inputs[n].root] = n, inputs[n].data.size
        self._counted.update(fresh)
        found = next((data[n] for n in data if inputs[n].root), None)
        as_data = found and (replace(found[0], name=_name(node)), found[1])
        place = _name(node), "forward", operation, inputs[0].data.shape, output.shape
        biases = sum(size for n, size in fresh.values() if n == 2)
        counted = report, seconds, sum(size for _, size in fresh.values()), difference, biases
        find_layer = None if as_data is None else lambda: as_data
        row = Row(*place, *counted, find_layer=find_layer, note=", ".join(notes))
        return [Value(output)], row

    def _run(self, node: Any, given: dict[str, Value]) -> list[Value]:
        try:
            return self._runtime(node, given)
        except (errors.NotImplemented, RuntimeError):  # no kernel, or a type that NumPy has not
            model, feeds = self._alone(node, given)
            return _placed(node, list(ReferenceEvaluator(model).run(None, feeds)))

    def _runtime(self, node: Any, given: dict[str, Value]) -> list[Value]:
        model, feeds = self._alone(node, given)
        text = model.SerializeToString(deterministic=True)
        if text not in self._sessions:
            self._sessions[text] = _session(text)
        session = self._sessions[text]
        return _placed(node, session.run(None, feeds), [o.type for o in session.get_outputs()])

    def _alone(self, node: Any, given: dict[str, Value]) -> tuple[Any, dict[str, Any]]:
        """Return a node as a model, the same for nodes alike but for names, and its inputs."""
        inputs = {f"input {n}": given[name] for n, name in enumerate(node.input) if name}
        inputs |= {name: given[name] for body in _bodies(node) for name in _captured(body)}
        told = set()
        if _bodies(node):  # a Scan asks for shapes, which such numbers may tell
            told = {n for n, v in inputs.items() if getattr(v.data, "dtype", None) == np.int64}
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        alone.name = ""
        alone.input[:] = [name and f"input {n}" for n, name in enumerate(node.input)]
        alone.output[:] = [name and f"output {n}" for n, name in enumerate(node.output)]
        graph = onnx.GraphProto(
            name="alone",
            node=[alone],
            input=[helper.make_value_info(n, _type(v)) for n, v in inputs.items() if n not in told],
            initializer=[numpy_helper.from_array(inputs[name].data, name) for name in sorted(told)],
            output=[onnx.ValueInfoProto(name=name) for name in alone.output if name],
        )
        imports, version = self.model.opset_import, self.model.ir_version
        model = onnx.ModelProto(ir_version=version, opset_import=imports, graph=graph)
        return model, {name: v.data for name, v in inputs.items() if name not in told}


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # they keep what they used
    options.log_severity_level = 4  # errors are raised
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _placed(node: Any, found: Sequence[Any], kinds: Sequence[str] | None = None) -> list[Value]:
    """Return what a node's outputs hold, nothing where one has no name."""
    kinds = kinds or [""] * len(found)
    values = iter([Value(data, kind=kind) for data, kind in zip(found, kinds, strict=True)])
    return [next(values) if name else Value(None) for name in node.output]


def _type(value: Value) -> Any:
    if isinstance(value.data, np.ndarray):
        number = helper.np_dtype_to_tensor_dtype(value.data.dtype)
        return helper.make_tensor_type_proto(number, value.data.shape)
    return _parsed(value.kind)


def _parsed(kind: str) -> Any:
    """Return the type that ONNX Runtime writes as "seq(tensor(float))"."""
    outer, _, inner = kind.removesuffix(")").partition("(")
    if outer == "tensor":
        return helper.make_tensor_type_proto(onnx.TensorProto.DataType.Value(inner.upper()), None)
    make = {"seq": helper.make_sequence_type_proto, "optional": helper.make_optional_type_proto}
    if outer not in make:
        raise ValueError(f"reads a value of type {kind or 'unknown'}, which cannot be passed to it")
    return make[outer](_parsed(inner))


def _options(node: Any) -> dict[str, Any]:
    return {given.name: helper.get_attribute_value(given) for given in node.attribute}


def _name(node: Any) -> str:
    return node.name or next(filter(None, node.output), node.op_type)


def _operation(node: Any) -> str:
    standard = node.domain in ("", "ai.onnx")
    return node.op_type if standard else f"{node.domain}.{node.op_type}"


def _bodies(node: Any) -> list[Any]:
    return [given.g for given in node.attribute if given.type == onnx.AttributeProto.GRAPH]


def _operations(node: Any) -> Iterator[str]:
    for inner in (inner for body in _bodies(node) for inner in body.node):
        yield from (_operation(inner), *_operations(inner))


def _reads(node: Any) -> list[str]:
    captured = [name for body in _bodies(node) for name in _captured(body)]
    return [name for name in (*node.input, *captured) if name]


def _captured(graph: Any) -> list[str]:
    """Return the names that a body reads from the graphs around it."""
    made = {given.name for given in (*graph.initializer, *graph.input)}
    made.update(given.values.name for given in graph.sparse_initializer)
    made.update(name for node in graph.node for name in node.output)
    read = [name for node in graph.node for name in _reads(node)]
    read += [output.name for output in graph.output]
    return [name for name in dict.fromkeys(read) if name not in made]


def _window(given: Mapping[str, Any], x: Any, weight: Any, transposed: bool = False) -> Geometry:
    axes = x.ndim - 2
    H, K = np.array(x.shape[2:]), np.array(weight.shape[2:])
    S, D = (np.array(given.get(word, [1] * axes)) for word in ("strides", "dilations"))
    ends = np.reshape(given.get("pads", [0] * 2 * axes), (2, axes))  # before, after
    extra = np.array(given.get("output_padding", [0] * axes))
    word, size, total = given.get("auto_pad", b"NOTSET").decode(), D * (K - 1) + 1, None
    if word != "NOTSET" and ends.any():
        raise ValueError(f"auto_pad: {word} and pads exclude each other")
    if "kernel_shape" in given and given["kernel_shape"] != K.tolist():
        wrong = given["kernel_shape"]
        raise ValueError(f"kernel_shape: must be the weight's, {K.tolist()}, got {wrong}")
    if transposed:
        size = (H - 1) * S + size + extra
        if "output_shape" in given:
            longer = given["output_shape"][-axes:] - size
            total, extra = np.maximum(-longer, 0), extra + np.maximum(longer, 0)
        elif word.startswith("SAME"):
            total = np.maximum(size - H * S, 0)
    elif word.startswith("SAME"):
        total = np.maximum((-(-H // S) - 1) * S + size - H, 0)
    if total is not None:
        halves = total // 2, total - total // 2
        ends = np.array(halves if word == "SAME_UPPER" else halves[::-1])
    padding = tuple(map(tuple, ends.T.tolist()))
    steps = tuple(S.tolist()), padding, tuple(D.tolist()), tuple(extra.tolist())
    return Geometry(*steps, given.get("group", 1), transposed)


def _conv(
    given: Mapping[str, Any], x: Any, weight: Any, bias: Any = None, *, transposed: bool = False
) -> Answer:
    how = _window(given, x, weight, transposed)
    data = layers.as_data("", x.shape, weight.shape, bias is not None, how)
    return *layers.convolve(x, weight, bias, how), {1: data}


def _deform_conv(
    given: Mapping[str, Any], x: Any, weight: Any, offset: Any, bias: Any = None, mask: Any = None
) -> Answer:
    how = _window(given, x, weight)
    steps: Any = {"stride": how.stride, "padding": how.padding, "dilation": how.dilation}
    return *deform_conv2d(x, offset, weight, bias, mask=mask, **steps), {}


def _product(n: int, k: int, m: int, bias: bool = False) -> Data:
    """Return (n, k) by (k, m) as data: the second is the weight if it is constant, or the first."""
    return {1: (Layer("", channels=m, bias=bias), (k, n, 1)), 0: (Layer("", channels=n), (k, m, 1))}


def _gemm(given: Mapping[str, Any], a: Any, b: Any, c: Any = None) -> Answer:
    a, b = a.T if given.get("transA") else a, b.T if given.get("transB") else b
    m, alpha, beta = b.shape[1], given.get("alpha", 1.0), given.get("beta", 1.0)
    linear = alpha == beta == 1 and c is not None and c.shape == (m,)
    y, report = layers.multiply(a, b, c if linear else None)
    if not linear:
        y = y * y.dtype.type(alpha)
        if c is not None and beta:
            y = y + c * y.dtype.type(beta)
    return y, report, _product(len(a), len(b), m, c is not None)


def _matmul(given: Mapping[str, Any], a: Any, b: Any) -> Answer:
    rows, columns = a[np.newaxis] if a.ndim == 1 else a, b[:, np.newaxis] if b.ndim == 1 else b
    batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    (n, k), m = rows.shape[-2:], columns.shape[-1]
    if math.prod(columns.shape[:-2]) == 1:  # one matrix meets every row
        y, report = layers.multiply(rows.reshape(-1, k), columns.reshape(-1, m))
        data = _product(len(y), k, m)
    else:
        rows, columns = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (rows, columns))
        y, report = layers.multiply(
            rows.reshape(-1, n, k), columns.reshape(-1, *columns.shape[-2:])
        )
        data = {}
    return y.reshape((*batch, *(n,) * (a.ndim > 1), *(m,) * (b.ndim > 1))), report, data


# And which inputs are weights, and how many axes the first may have.
ANSWERS: dict[str, tuple[Callable[..., Answer], set[int], Container[int]]] = {
    "Conv": (_conv, {1, 2}, {3, 4}),
    "ConvTranspose": (partial(_conv, transposed=True), {1, 2}, {3, 4}),
    "DeformConv": (_deform_conv, {1, 3}, {4}),
    "Gemm": (_gemm, {0, 1, 2}, {2}),
    "MatMul": (_matmul, {0, 1}, range(1, 65)),
}
