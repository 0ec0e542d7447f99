"""PyTorch: a dispatch mode answers a model's convolutions and matrix products by jitconv's loops.

Every operation that a model calls passes through the mode, below autograd: the model goes on with
what the mode returns, and its backward pass comes by as operations too. A row is named by the
module that is running; in a backward pass by the one that ran when autograd noted the operation.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry

from .. import gradients
from ..costs.report import CostReport
from ..networks import Layer
from ..variants.deformable import deform_conv2d
from .layers import Geometry, as_data, convolve, convolve_back, multiply, timed
from .measured import AsData, Difference, Measured, Row

ROLES = ("input gradient", "weight gradient")
DEFORMABLE = ("x", "weight", "offset", "mask", "bias")  # gradients in torchvision's order
FUSED = (
    torch.nn.MultiheadAttention,
    torch.nn.TransformerEncoder,
    torch.nn.TransformerEncoderLayer,
)
FUSED_ELSEWHERE = (
    "without gradients, modules of attention may run as one operation, for which FlopCounterMode "
    "has no formula: it prints less then"
)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# They make or move numbers, and calculate none. Views are known by their schema.
MOVES = {
    *("_local_scalar_dense", "_record_function_enter_new", "_record_function_exit", "_to_copy"),
    *("_unsafe_view", "arange", "bernoulli_", "cat", "clone", "copy_", "empty", "empty_like"),
    *("empty_strided", "fill_", "full", "full_like", "item", "lift_fresh", "new_empty"),
    *("new_empty_strided", "new_full", "new_ones", "new_zeros", "normal_", "ones", "ones_like"),
    *("rand", "randint", "randn", "random_", "randperm", "scalar_tensor", "stack", "uniform_"),
    *("zero_", "zeros", "zeros_like"),
}


def run(
    model: Callable[..., Any],
    inputs: Sequence[Any],
    compare: bool = True,
    each: Callable[[Row], object] | None = None,
) -> Measured:
    """Call a model, without gradients if it is a module, and return what was measured."""
    tensors = tree_map(lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x, inputs)
    module = isinstance(model, torch.nn.Module)
    name = type(model).__name__ if module else getattr(model, "__name__", type(model).__name__)
    quiet = torch.no_grad() if module else contextlib.nullcontext()
    with measuring(compare, each, name) as measured, quiet:
        measured.output = model(*tensors)
    return measured


@contextlib.contextmanager
def measuring(
    compare: bool = True, each: Callable[[Row], object] | None = None, name: str = "PyTorch"
) -> Iterator[Measured]:
    """Measure what this thread runs meanwhile: see `jitconv.measuring`."""
    measured, modules, threads = Measured(name), Modules(), torch.get_num_threads()
    try:
        with modules.watched(), Answers(measured, modules, compare, each):
            yield measured
    finally:  # Numba's first launch sets them too, where both use one OpenMP
        torch.set_num_threads(threads)
    if modules.unfused:
        measured.remarks.append(FUSED_ELSEWHERE)


class Unfused(TorchFunctionMode):
    """Does nothing. Where such a mode is on, modules of attention call one operation after another.

    Without gradients they would else run as a single one, products and all.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Modules:
    """Knows which module this thread is in, and the names and parameters of all that it saw.

    Attributes
    ----------
    inside : list of str
        Paths of the modules that are running, the innermost last. The first name is a class's.
    parameters : set of int
        Addresses of the numbers that the modules hold as parameters.
    unfused : bool
        Whether a module was kept from running as one operation.
    """

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.parameters: set[int] = set()
        self.unfused = False
        self._modes: list[Unfused] = []
        self._names: dict[Any, str] = {}
        self._thread = threading.get_ident()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Follow modules while the block runs."""
        enter = register_module_forward_pre_hook(self._enter)
        leave = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()
            while self._modes:
                self._modes.pop().__exit__(None, None, None)

    def _enter(self, module: Any, inputs: Any) -> None:
        if threading.get_ident() != self._thread:  # hooks are everyone's
            return
        if module not in self._names:
            root = type(module).__name__
            for path, inner in module.named_modules():
                self._names.setdefault(inner, f"{root}.{path}".rstrip("."))
            self.parameters |= {parameter.data_ptr() for parameter in module.parameters()}
        self.inside.append(self._names[module])
        if isinstance(module, FUSED):
            self.unfused |= not torch.is_grad_enabled()
            self._modes.append(Unfused().__enter__())

    def _leave(self, module: Any, inputs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        if self.inside and self.inside[-1] == self._names.get(module):
            self.inside.pop()
            if isinstance(module, FUSED):
                self._modes.pop().__exit__(None, None, None)


class Answers(TorchDispatchMode):
    """Runs an operation of ANSWERS on jitconv's loops and adds a row; lets any other run."""

    supports_higher_order_operators = True

    def __init__(
        self,
        measured: Measured,
        modules: Modules,
        compare: bool,
        each: Callable[[Row], object] | None,
    ):
        super().__init__()
        self.measured, self.modules, self.compare, self.each = measured, modules, compare, each
        # by autograd's number of an operation: its module, and where its second factor lies
        self._noted: dict[int, tuple[str, int]] = {}
        self._counted: set[tuple[int | str, int]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        answer, packet, name = _known(func)
        if answer is not None and all(map(_readable, (*args, *kwargs.values()))):
            found = answer(self, func, *args, **kwargs)
            if found is not NotImplemented:
                return found
        if torch.is_inference_mode_enabled() and hasattr(func, "decompose"):  # into its parts
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        found = func(*args, **kwargs)
        if name is not None:
            listed, besides = self.measured.not_measured, self.measured.flop_counter_besides
            listed[name] = listed.get(name, 0) + 1
            if packet in flop_registry:
                besides[name] = besides.get(name, 0) + _flops(packet, args, kwargs, found)
        return found

    def place(self, first: torch.Tensor, second: torch.Tensor) -> tuple[str, str]:
        """Return the name and the role of an operation on two factors."""
        node = torch._C._current_autograd_node()
        if node is None or self.modules.inside:
            name = self.modules.inside[-1] if self.modules.inside else "Global"
            if first.requires_grad or second.requires_grad:
                number = torch._C._autograd._get_sequence_nr() - 1
                self._noted.setdefault(number, (name, second.data_ptr()))
            return name, "forward"
        name, factor = self._noted.get(node._sequence_nr(), ("Global", 0))
        meets = factor in (first.data_ptr(), second.data_ptr())
        return name, ROLES[0 if meets else 1]

    def parameters(self, *tensors: torch.Tensor | None, name: str = "") -> int:
        """Return how many numbers of these are parameters that were not counted before.

        The weight of the layer `name` may also have been computed from its parameters.
        """
        found = 0
        for tensor in tensors:
            if tensor is None:
                continue
            where: Any = tensor.data_ptr()
            if where not in self.modules.parameters:
                where = name
            sides = zip(tensor.shape, tensor.stride(), strict=True)
            key = where, math.prod(size for size, step in sides if step)
            if where and key not in self._counted:
                found += key[1]
                self._counted.add(key)
        return found

    def run(
        self,
        func: Any,
        args: Sequence[Any],
        place: tuple[str, str],
        loops: Callable[..., tuple[Sequence[np.ndarray], CostReport]],
        tensors: Sequence[torch.Tensor | None],
        theirs: Sequence[torch.Tensor] | None,
        out: Callable[..., Any] = lambda y: y,
        **others: Any,
    ) -> list[torch.Tensor]:
        """Run loops on tensors, the images first, add a row, and return the outputs as tensors.

        `func`, `args` and `out`, which makes the operation's result of the outputs' shapes, are for
        the formula of FlopCounterMode.
        """
        x: Any = tensors[0]

        def answer() -> tuple[list[torch.Tensor], CostReport]:
            made, report = loops(*map(_array, tensors))
            return [torch.from_numpy(y).to(x.device, x.dtype) for y in made], report

        try:
            (ours, report), seconds = timed(answer)
        except (TypeError, ValueError):
            func(*args)  # what torch refuses too, it says in its own words
            raise
        given = args[0].dtype
        note = [f"{str(given)[6:]} computed in float32"] if given in FLOATS[:2] else []
        note += [f"copied from {x.device}"] if x.device.type != "cpu" else []
        row = Row(
            *place,
            str(func._overloadpacket),
            tuple(x.shape),
            tuple(ours[0].shape),
            report,
            seconds,
            difference=None if theirs is None else _apart(ours, theirs),
            find_flops=functools.partial(
                _flops, func._overloadpacket, _shapes(args), {}, out(*_shapes(ours))
            ),
            note=", ".join(note),
            **others,
        )
        self.measured.rows.append(row)
        if self.each is not None:
            self.each(row)
        return ours


@functools.cache
def _known(func: Any) -> tuple[Callable[..., Any] | None, Any, str | None]:
    """Return what answers an operation, its name for formulas, and that for a list, if any."""
    packet = getattr(func, "_overloadpacket", func)
    name = str(packet)
    moves = getattr(func, "is_view", False) or name.rpartition(".")[2] in MOVES
    return ANSWERS.get(str(func)), packet, None if moves else name


def _readable(value: Any) -> bool:
    return not isinstance(value, torch.Tensor) or (
        type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.layout is torch.strided
        and value.dtype in FLOATS
        and value.device.type != "meta"
        and value.numel() > 0
    )


def _array(tensor: torch.Tensor | None) -> np.ndarray | None:
    if tensor is None:
        return None
    return _single(tensor.detach().cpu().resolve_neg()).numpy()


def _apart(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> Difference:
    pairs: Any = zip(map(_array, ours), map(_array, theirs), strict=True)
    return max((Difference.between(*pair) for pair in pairs), key=lambda found: found.relative)


def _shapes(values: Sequence[Any]) -> list[Any]:
    return [value.shape if isinstance(value, torch.Tensor) else value for value in values]


def _flops(packet: Any, args: Any, kwargs: Any, out: Any) -> int:
    formula = flop_registry.get(packet)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=out))


def _geometry(
    axes: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Geometry:
    def each(numbers: Sequence[int]) -> tuple[int, ...]:  # one number stands for all axes
        return tuple(numbers) * (axes // len(numbers))

    steps = each(stride), each(padding), each(dilation), each(output_padding)
    return Geometry(*steps, groups=groups, transposed=transposed)


def _layout(*tensors: torch.Tensor) -> torch.memory_format:
    last = torch.channels_last
    if any(
        t.ndim == 4 and t.is_contiguous(memory_format=last) > t.is_contiguous() for t in tensors
    ):
        return last
    return torch.contiguous_format


def _convolution(mode: Answers, func: Any, *args: Any) -> Any:
    x, weight, bias, *options = args[:9]
    if x.ndim > 4:
        return NotImplemented
    how = _geometry(x.ndim - 2, *options)
    name, role = mode.place(x, weight)

    def loops(x: Any, weight: Any, bias: Any) -> Any:
        y, report = convolve(x, weight, bias, how)
        return [y], report

    [y] = mode.run(
        func,
        args,
        (name, role),
        loops,
        (x.contiguous(), weight.contiguous(), bias),
        [func(*args)] if mode.compare else None,
        parameters=mode.parameters(weight, bias, name=name),
        find_layer=functools.partial(as_data, name, x.shape, weight.shape, bias is not None, how),
    )
    return y.contiguous(memory_format=_layout(x, weight))


def _convolution_backward(mode: Answers, func: Any, *args: Any) -> Any:
    dy, x, weight, _, *options, mask = args
    if x.ndim > 4:
        return NotImplemented
    how = _geometry(x.ndim - 2, *options)
    name, _ = mode.place(x, weight)
    theirs = func(*args) if mode.compare else None
    found: list[torch.Tensor | None] = [None, None, None]
    for place, word in enumerate(("x", "weight")):
        if mask[place]:
            alone = [other == place for other in range(3)]

            def loops(dy: Any, x: Any, weight: Any, word: str = word) -> Any:
                grads, report = convolve_back(dy, x, weight, how, {word})
                return [getattr(grads, word)], report

            def out(made: Any, place: int = place) -> Any:
                return [made if other == place else None for other in range(3)]

            [found[place]] = mode.run(
                func,
                (*args[:-1], alone),
                (name, ROLES[place]),
                loops,
                (dy.contiguous(), x.contiguous(), weight.contiguous()),
                theirs and [theirs[place]],
                out,
                parameters=0,
            )
    if mask[2]:  # a sum: not a multiply
        found[2] = dy.sum([0, *range(2, dy.ndim)])
    return tuple(found)


def _deformable(mode: Answers, func: Any, *args: Any) -> Any:
    x, weight, offset, mask, bias = args[:5]
    steps: dict[str, Any] = {"stride": args[5:7], "padding": args[7:9], "dilation": args[9:11]}

    def loops(x: Any, offset: Any, weight: Any, bias: Any, mask: Any) -> Any:
        y, report = deform_conv2d(x, offset, weight, bias, mask=mask, **steps)
        return [y], report

    [y] = mode.run(
        func,
        args,
        mode.place(x, weight),
        loops,
        (x, offset, weight, bias, mask if args[13] else None),
        [func(*args)] if mode.compare else None,
        parameters=mode.parameters(weight, bias),
    )
    return y


def _deformable_backward(mode: Answers, func: Any, *args: Any) -> Any:
    dy, x, weight, offset, mask = args[:5]
    steps: dict[str, Any] = {"stride": args[6:8], "padding": args[8:10], "dilation": args[10:12]}
    name, _ = mode.place(x, weight)
    theirs = mode.compare and dict(zip(DEFORMABLE, func(*args), strict=True))
    found = {"mask": torch.zeros_like(mask), "bias": dy.sum([0, 2, 3])}
    for role, words in zip(ROLES, (["x", "offset", *["mask"] * args[14]], ["weight"]), strict=True):

        def loops(*arrays: Any, words: Sequence[str] = words) -> Any:
            *given, mask = arrays
            grads, report = gradients.deform_conv2d(*given, mask=mask, needs=words, **steps)
            return [getattr(grads, word) for word in words], report

        made = mode.run(
            func,
            args,
            (name, role),
            loops,
            (dy, x, offset, weight, mask if args[14] else None),
            [theirs[word] for word in words] if theirs else None,
            lambda *made: made,
            parameters=0,
        )
        found |= dict(zip(words, made, strict=True))
    return tuple(found[word] for word in DEFORMABLE)


def _matrices(mode: Answers, func: Any, *args: Any, beta: float = 1, alpha: float = 1) -> Any:
    *added, a, b = args
    scales = {"beta": beta, "alpha": alpha} if added else {}
    theirs = func(*args, **scales) if mode.compare else None
    return _product(mode, func, args, mode.place(a, b), a, b, theirs, *added, **scales)


def _product(
    mode: Answers,
    func: Any,
    args: Sequence[Any],
    place: tuple[str, str],
    a: torch.Tensor,
    b: torch.Tensor,
    theirs: torch.Tensor | None,
    added: torch.Tensor | None = None,
    beta: float = 1,
    alpha: float = 1,
) -> torch.Tensor:
    """Return beta·added + alpha·a@b of matrices, as many of each, or vectors, as a row."""
    name, role = place
    shape = (*a.shape[:-1], b.shape[-1]) if b.ndim > 1 else a.shape[:-1]
    linear = added is not None and added.shape == b.shape[1:] and alpha == beta == 1
    find_layer = None
    if role == "forward" and b.ndim == 2 and b.data_ptr() in mode.modules.parameters:
        find_layer = functools.partial(_linear, name, len(a), len(b), shape[-1], linear)

    def loops(a: Any, b: Any, added: Any) -> Any:
        a, b = np.atleast_2d(a), b if b.ndim > 1 else b[:, np.newaxis]
        y, report = multiply(a, b, added if linear else None)
        y = y.reshape(shape)
        if added is not None and not linear:
            y = alpha * y + (beta * added if beta else 0)
        return [y], report

    [y] = mode.run(
        func,
        args,
        place,
        loops,
        (a, b, added),
        None if theirs is None else [theirs],
        parameters=mode.parameters(a, b, added if linear else None),
        find_layer=find_layer,
    )
    return y


def _linear(name: str, n: int, k: int, m: int, bias: bool) -> AsData:
    return Layer(name, channels=m, bias=bias), (k, n, 1)


def _attention(
    mode: Answers,
    func: Any,
    *args: Any,
    attn_mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> Any:
    # q (B, heads, L, E), k and v (B, heads or fewer, S, E)
    q, k, v = map(_single, args[:3])
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    causal = len(args) > 4 and args[4]
    keywords = {"attn_mask": attn_mask, "scale": scale}
    theirs = func(*args, **keywords)[0].flatten(0, 1) if mode.compare else None
    place = mode.place(*args[:2])
    scores = _scores(mode, func, args, place, q, k, causal, **keywords)
    weights = scores.softmax(-1).nan_to_num(0)  # a query without a key attends to nothing
    y = _product(mode, func, args, place, weights, v.flatten(0, 1), theirs)
    y = torch.empty_like(args[0]).copy_(y.unflatten(0, q.shape[:2]))  # in the layout of q
    return y, scores.logsumexp(-1).unflatten(0, q.shape[:2])


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in FLOATS[:2] else tensor


def _scores(
    mode: Answers,
    func: Any,
    args: Sequence[Any],
    place: tuple[str, str],
    q: torch.Tensor,
    k: torch.Tensor,
    causal: bool,
    attn_mask: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    """Return how much each query meets each key, scaled and masked (B·heads, L, S)."""
    B, heads, _, E = q.shape
    q, k = q.flatten(0, 1), k.flatten(0, 1).mT
    scores = _product(mode, func, args, place, q, k, q @ k if mode.compare else None)
    scores = scores.unflatten(0, (B, heads)) * (E**-0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = scores + attn_mask
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.flatten(0, 1)


def _attention_backward(
    mode: Answers,
    func: Any,
    *args: Any,
    attn_mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> Any:
    dy, q, k, v, y, logsumexp = map(_single, args[:6])
    if q.shape[1] != k.shape[1]:
        return NotImplemented
    keywords = {"attn_mask": attn_mask, "scale": scale}
    theirs = [None] * 3
    if mode.compare:
        theirs = [made.flatten(0, 1) for made in func(*args, **keywords)]
    place = mode.place(*args[1:3])[0], ROLES[0]
    scores = _scores(mode, func, args, place, q, k, args[7], **keywords)
    weights = (scores - logsumexp.flatten(0, 1)[:, :, None]).exp()
    dy, q, k, v, y = (tensor.flatten(0, 1) for tensor in (dy, q, k, v, y))
    multiplied = functools.partial(_product, mode, func, args, place)
    apart = dy @ v.mT if mode.compare else None
    dv = multiplied(weights.mT, dy, theirs[2])
    dweights = multiplied(dy, v.mT, apart)
    dscores = weights * (dweights - (dy * y).sum(-1, keepdim=True))
    dscores = dscores * (q.shape[-1] ** -0.5 if scale is None else scale)
    dq, dk = multiplied(dscores, k, theirs[0]), multiplied(dscores.mT, q, theirs[1])
    heads, dtype = args[1].shape[:2], args[0].dtype
    return tuple(made.unflatten(0, heads).to(dtype) for made in (dq, dk, dv))


ANSWERS: dict[str, Callable[..., Any]] = {
    "aten.convolution.default": _convolution,
    "aten._convolution.default": _convolution,
    "aten.convolution_backward.default": _convolution_backward,
    "torchvision.deform_conv2d.default": _deformable,
    "torchvision._deform_conv2d_backward.default": _deformable_backward,
    **{
        f"aten.{name}.default": _matrices
        for name in ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot")
    },
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": _attention_backward,
}
