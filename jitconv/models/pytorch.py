"""PyTorch: a dispatch mode answers a model's convolutions and matrix products by jitconv's loops.

Every operation that a model calls passes through the mode, below autograd: the model goes on with
what the mode returns, and its backward pass comes by as operations too. A row is named by the
module that is running; in a backward pass by the one that ran when autograd noted the operation.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch._ops import HigherOrderOperator
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry

from .. import gradients
from ..costs.report import CostReport
from ..jit import with_room
from ..networks import Layer
from ..variants.deformable import deform_conv2d
from .layers import Geometry, as_data, convolve, convolve_back, multiply, timed
from .measured import AsData, Difference, Measured, Row
from .modules import Modules

ROLES = ("input gradient", "weight gradient")
DEFORMABLE = ("x", "weight", "offset", "mask", "bias")  # gradients in torchvision's order
FUSED_ELSEWHERE = (
    "without gradients, modules of attention may run as one operation, for which FlopCounterMode "
    "has no formula: it prints less then; padded tokens, which that may skip, are computed here"
)
NOTHING = "nothing was calculated: what runs later, or in another thread, is not measured"
INSIDE = "what {} runs inside is not measured, and not in FlopCounterMode's number here"
IN_TRAINING = "in training mode: batch statistics are the framework's, and change"
CPU = torch.device("cpu")
HALF = (torch.float16, torch.bfloat16)
COPIES = ("aten._to_copy", "aten.clone")
FLOATS = (*HALF, torch.float32, torch.float64)
# They make or move numbers, and calculate none. Views are known by their schema.
MOVES = {
    *("_local_scalar_dense", "_to_copy", "_unsafe_view", "arange", "bernoulli_", "cat", "clone"),
    *("copy_", "empty", "empty_like", "empty_strided", "fill_", "full", "full_like", "item"),
    *("lift_fresh", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros"),
    *("normal_", "ones", "ones_like", "rand", "randint", "randn", "random_", "randperm"),
    *("scalar_tensor", "set_", "stack", "uniform_", "zero_", "zeros", "zeros_like"),
    *("profiler._record_function_enter_new", "profiler._record_function_exit"),
}


def run(
    model: Callable[..., Any],
    inputs: Sequence[Any],
    compare: bool = True,
    each: Callable[[Row], object] | None = None,
) -> Measured:
    """Call a model, without gradients if it is a module, and return what was measured."""
    tensors = tree_map(_given, inputs)
    name, quiet = getattr(model, "__name__", type(model).__name__), contextlib.nullcontext()
    if isinstance(model, torch.nn.Module):
        name, quiet = type(model).__name__, torch.no_grad()
    with measuring(compare, each, name) as measured, quiet:
        measured.output = with_room(model)(*tensors)
    if not measured.rows and not measured.not_measured:
        measured.remarks.append(NOTHING)
    if getattr(model, "training", False) is True:  # a frozen one is in no mode
        measured.remarks.append(IN_TRAINING)
    return measured


def _given(x: Any) -> Any:
    return torch.tensor(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x


@contextlib.contextmanager
def measuring(
    compare: bool = True, each: Callable[[Row], object] | None = None, name: str = "PyTorch"
) -> Iterator[Measured]:
    """Measure what this thread runs meanwhile: see `jitconv.measuring`."""
    if any(isinstance(mode, Answers) for mode in _get_current_dispatch_mode_stack()):
        raise RuntimeError("measuring: is on already in this thread, and cannot be nested")
    measured, threads = Measured(name), torch.get_num_threads()
    answers = Answers(measured, compare, each)
    try:
        with attention_in_parts(), answers:
            yield measured
    finally:  # Numba's first launch sets them too, where both use one OpenMP
        torch.set_num_threads(threads)
    if answers.unfused:
        measured.remarks.append(FUSED_ELSEWHERE)


SWITCHES: dict[str, Any] = {
    "lock": threading.Lock(),
    "users": 0,
    "on_gpu": False,
    "before": contextlib.ExitStack(),
}


@contextlib.contextmanager
def attention_in_parts() -> Iterator[None]:
    """Let attention run as its products, with a softmax between them, where no loops answer it.

    That is in modules without gradients, and on a GPU. PyTorch's switches are for all threads:
    whoever comes first turns them off, and whoever leaves last restores them.
    """
    with SWITCHES["lock"]:
        if not SWITCHES["users"]:
            SWITCHES["before"].callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
            mha.set_fastpath_enabled(False)
        if torch.cuda.is_initialized() and not SWITCHES["on_gpu"]:
            SWITCHES["before"].enter_context(sdpa_kernel(SDPBackend.MATH))
            SWITCHES["on_gpu"] = True
        SWITCHES["users"] += 1
    try:
        yield
    finally:
        with SWITCHES["lock"]:
            SWITCHES["users"] -= 1
            if not SWITCHES["users"]:
                SWITCHES["before"].close()
                SWITCHES["on_gpu"] = False


class Refused(Exception):
    """The loops do not take what they were given."""


class Answers(TorchDispatchMode):
    """Runs an operation of ANSWERS on jitconv's loops and adds a row; lets any other run."""

    supports_higher_order_operators = True

    def __init__(
        self, measured: Measured, compare: bool, each: Callable[[Row], object] | None
    ) -> None:
        super().__init__()
        self.measured, self.compare, self.each = measured, compare, each
        self.modules, self.unfused = Modules(), False
        # by autograd's number of an operation: its module, and of both factors the shape, whether
        # a gradient is wanted, and where the other one lies, which autograd then keeps
        self._noted: dict[int, tuple[str, list[tuple[tuple[int, ...], bool, int]]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        answer, packet, name, moves, composed = _known(func)
        if answer is not None and _readable(*args, *kwargs.values()):
            self.modules.look()
            attends = isinstance(self.modules.module, torch.nn.MultiheadAttention)
            self.unfused |= attends and not torch.is_grad_enabled()
            try:
                found = answer(self, func, *args, **kwargs)
            except Refused:  # what torch refuses too, it says below in its own words
                found = NotImplemented
            if found is not NotImplemented:
                return found
        if composed and (torch.is_inference_mode_enabled() or any(map(_for_inference, args))):
            with self:
                return func.decompose(*args, **kwargs)
        found = func(*args, **kwargs)
        if name in COPIES and args:
            self.modules.follow(args[0], found)
        elif moves:  # as a view, a parameter leaves its module
            for value in args:
                if isinstance(value, torch.nn.Parameter):
                    self.modules.find(value)
        else:
            listed, besides = self.measured.not_measured, self.measured.flop_counter_besides
            listed[name] = listed.get(name, 0) + 1
            if packet in flop_registry:
                besides[name] = besides.get(name, 0) + _flops(packet, args, kwargs, found)
            elif isinstance(func, HigherOrderOperator) and listed[name] == 1:  # such as cond
                self.measured.remarks.append(INSIDE.format(name))
        return found

    def place(
        self, first: torch.Tensor, second: torch.Tensor, made: tuple[int, ...] = ()
    ) -> tuple[str, str]:
        """Return the name and the role of an operation on two factors; `made` is its shape."""
        node, name = torch._C._current_autograd_node(), self.modules.path
        if node is None or self.modules.module is not None:
            # else autograd counts no operation
            noted = torch.is_grad_enabled() or self.modules.own
            if noted and (first.requires_grad or second.requires_grad):
                number = torch._C._autograd._get_sequence_nr() - 1
                factors = [
                    (tuple(one.shape), one.requires_grad, other.data_ptr())
                    for one, other in ((first, second), (second, first))
                ]
                self._noted.setdefault(number, (name, factors))
            return name, "forward"
        if node._sequence_nr() not in self._noted:
            return "Global", "gradient"
        name, factors = self._noted[node._sequence_nr()]
        met = first.data_ptr(), second.data_ptr()
        # a gradient has the shape of its factor, or is yet to be turned, and is made of the other
        for fits in (
            lambda shape, place: made in (shape, (*shape[:-2], *shape[:-3:-1])),
            lambda shape, place: place in met,
        ):
            may_be = [wanted and fits(shape, place) for shape, wanted, place in factors]
            if sum(may_be) == 1:
                return name, ROLES[may_be.index(True)]
        return name, "gradient"

    def run(
        self,
        func: Any,
        args: Sequence[Any],
        place: tuple[str, str],
        loops: Callable[..., tuple[Sequence[np.ndarray], CostReport]],
        tensors: Sequence[torch.Tensor | None],
        theirs: Sequence[torch.Tensor] | None,
        out: Callable[..., Any] = lambda y: y,
        counted: tuple[int, int] = (0, 0),
        find_layer: Callable[[], AsData] | None = None,
    ) -> list[torch.Tensor]:
        """Run loops on tensors, the images first, add a row, and return the outputs as tensors.

        `func`, `args` and `out`, which makes the operation's result of the outputs' shapes, are for
        the formula of FlopCounterMode.
        """
        x: Any = tensors[0]
        _, packet, name, *_ = _known(func)

        def answer() -> tuple[list[torch.Tensor], CostReport]:
            made, report = loops(*map(_array, tensors))
            return [torch.from_numpy(y).to(x.device, x.dtype) for y in made], report

        try:
            (ours, report), seconds = timed(answer)
        except (TypeError, ValueError) as error:
            raise Refused from error
        row = Row(
            *place,
            name,
            tuple(x.shape),
            tuple(ours[0].shape),
            report,
            seconds,
            difference=None if theirs is None else _apart(ours, theirs),
            find_flops=functools.partial(_flops, packet, _shapes(args), {}, out(*_shapes(ours))),
            note=_note(args[0].dtype, x.device),
            find_layer=find_layer,
            parameters=counted[0],
            biases=counted[1],
        )
        self.measured.rows.append(row)
        if self.each is not None:
            self.each(row)
        return ours


@functools.cache
def _known(func: Any) -> tuple[Callable[..., Any] | None, Any, str, bool, bool]:
    """Return what answers an operation, its packet and name, if it only moves, and if composed."""
    packet = getattr(func, "_overloadpacket", func)
    name = str(packet)
    moves = getattr(func, "is_view", False) or name.removeprefix("aten.") in MOVES
    try:
        composed = hasattr(func, "_can_decompose") and func._can_decompose()
    except RuntimeError:  # it has no schema
        composed = False
    return ANSWERS.get(str(func)), packet, name, moves, composed


def _readable(*values: Any) -> bool:  # and anything but tensors
    return all(
        type(value).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
        and value.layout is torch.strided
        and (value.dtype in FLOATS or (value.dtype == torch.int32 and value.ndim == 1))
        and not value.is_meta
        and value.numel() > 0
        for value in values
        if isinstance(value, torch.Tensor)
    )


def _for_inference(value: Any) -> bool:  # to such tensors a linear layer comes in one piece
    return isinstance(value, torch.Tensor) and value.is_inference()


def _alike(*tensors: torch.Tensor | None) -> bool:
    return len({tensor.dtype for tensor in tensors if tensor is not None}) == 1


def _array(tensor: torch.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else _single(tensor).numpy(force=True)


def _note(dtype: torch.dtype, device: torch.device) -> str:
    notes = []
    if dtype in HALF:
        notes.append(f"{str(dtype)[6:]} computed in float32")
    if device != CPU:
        notes.append(f"copied from {device}")
    return ", ".join(notes)


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
    given = (stride, padding, dilation, output_padding)
    steps = [tuple(n) * (axes // len(n)) for n in given]  # one number stands for all axes
    return Geometry._make((*steps, groups, transposed))


def _channels_last(tensor: torch.Tensor) -> bool:
    is_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return is_last and not tensor.is_contiguous()


def _convolution(mode: Answers, func: Any, *args: Any) -> Any:
    x, weight, bias, *options = args[:9]
    if x.ndim > 4 or not _alike(x, weight, bias):
        return NotImplemented
    how = _geometry(x.ndim - 2, *options)
    name, role = mode.place(x, weight)
    as_layer = functools.partial(as_data, name, x.shape, weight.shape, bias is not None, how)

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
        find_layer=as_layer if role == "forward" else None,
        counted=mode.modules.count(weight=weight, bias=bias),
    )
    if _channels_last(x) or _channels_last(weight):
        y = y.contiguous(memory_format=torch.channels_last)
    return y


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
            )
    if mask[2]:  # a sum: not a multiply
        found[2] = dy.sum([0, *range(2, dy.ndim)])
    return tuple(found)


def _steps(SH: int, SW: int, PH: int, PW: int, DH: int, DW: int) -> dict[str, Any]:
    return {"stride": (SH, SW), "padding": (PH, PW), "dilation": (DH, DW)}


def _deformable(mode: Answers, func: Any, *args: Any) -> Any:
    x, weight, offset, mask, bias, *numbers, _, _, use_mask = args
    steps = _steps(*numbers)

    def loops(x: Any, offset: Any, weight: Any, bias: Any, mask: Any) -> Any:
        y, report = deform_conv2d(x, offset, weight, bias, mask=mask, **steps)
        return [y], report

    [y] = mode.run(
        func,
        args,
        mode.place(x, weight),
        loops,
        (x, offset, weight, bias, mask if use_mask else None),
        [func(*args)] if mode.compare else None,
        counted=mode.modules.count(weight=weight, bias=bias),
    )
    return y


def _deformable_backward(mode: Answers, func: Any, *args: Any) -> Any:
    dy, x, weight, offset, mask, _, *numbers, _, _, use_mask = args
    steps = _steps(*numbers)
    name, _ = mode.place(x, weight)
    theirs = mode.compare and dict(zip(DEFORMABLE, func(*args), strict=True))
    found = {"mask": torch.zeros_like(mask), "bias": dy.sum([0, 2, 3])}
    for role, words in zip(ROLES, (["x", "offset", *["mask"] * use_mask], ["weight"]), strict=True):

        def loops(*arrays: Any, words: Sequence[str] = words) -> Any:
            *given, mask = arrays
            grads, report = gradients.deform_conv2d(*given, mask=mask, needs=words, **steps)
            return [getattr(grads, word) for word in words], report

        made = mode.run(
            func,
            args,
            (name, role),
            loops,
            (dy, x, offset, weight, mask if use_mask else None),
            [theirs[word] for word in words] if theirs else None,
            lambda *made: made,
        )
        found |= dict(zip(words, made, strict=True))
    return tuple(found[word] for word in DEFORMABLE)


def _matrices(mode: Answers, func: Any, *args: Any, beta: float = 1, alpha: float = 1) -> Any:
    if not _alike(*args):
        return NotImplemented
    *added, a, b = args
    scales = {"beta": beta, "alpha": alpha} if added else {}
    theirs = func(*args, **scales) if mode.compare else None
    made = *a.shape[:-1], *b.shape[1:][-1:]
    if (
        mode.modules.parameter(a, "factor") is not None
        and mode.modules.parameter(b, "weight") is None
    ):
        place = mode.place(b, a, made)
    else:
        place = mode.place(a, b, made)
    return _product(mode, func, args, place, a, b, theirs, *added, **scales)


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
    linear = added is not None and added.shape == b.shape[1:] and b.ndim > 1 and alpha == beta == 1
    weight, bias = mode.modules.parameter(b, "weight"), added
    if weight is not None and added is None and b.ndim > 1 and role == "forward":
        bias = mode.modules.bias_beside(*weight, b)
    find_layer = None
    if role == "forward" and b.ndim == 2:
        if weight is not None:
            sizes = len(a), len(b), shape[-1], linear or (added is None and bias is not None)
            find_layer = functools.partial(_linear, name, *sizes)
        elif mode.modules.parameter(a, "factor") is not None:
            find_layer = functools.partial(_linear, name, shape[-1], len(b), len(a), False)

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
        find_layer=find_layer,
        counted=mode.modules.count(weight=b, bias=bias, factor=a),
    )
    return y


def _shares(
    mode: Answers,
    func: Any,
    a: torch.Tensor,
    b: torch.Tensor,
    offs: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Any:
    # A mixture of experts: each multiplies a share of the rows of a, and in gradients of the
    # columns of b or of what is summed over. offs: where the shares end. Each is a row.
    if not _alike(a, b) or a.dtype == torch.float64 or bias is not None or out_dtype is not None:
        return NotImplemented
    if offs is None:
        return _matrices(mode, func, a, b)
    if {a.ndim, b.ndim} not in ({2, 3}, {2}):
        return NotImplemented
    ends, every = [0, *offs.tolist()], slice(None)
    shared = b.shape[1] if a.ndim == 3 else a.shape[0 if b.ndim == 3 else 1]
    experts = {len(offs), *(len(factor) for factor in (a, b) if factor.ndim == 3)}
    if len(experts) > 1 or [*ends, shared] != sorted([*ends, shared]):
        return NotImplemented
    theirs = func(a, b, offs) if mode.compare else None
    shape = a.shape[-2], b.shape[-1]
    y = a.new_zeros((len(offs), *shape) if a.ndim == b.ndim else shape)
    place = mode.place(a, b, tuple(y.shape))
    for i, (begin, end) in enumerate(itertools.pairwise(ends)):
        some = slice(begin, end)
        rows, columns, where = {
            (2, 3): (some, i, some),
            (3, 2): (i, (every, some), (every, some)),
            (2, 2): ((every, some), some, i),
        }[a.ndim, b.ndim]
        if end > begin:
            factors, expected = (a[rows], b[columns]), None if theirs is None else theirs[where]
            y[where] = _product(mode, func, factors, place, *factors, expected)
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
    q, *others = map(_single, args[:3])
    k, v = _for_each_query(q, *others)
    causal = len(args) > 4 and args[4]
    keywords = {"attn_mask": attn_mask, "scale": scale}
    theirs = func(*args, **keywords)[0].flatten(0, 1) if mode.compare else None
    place = mode.place(*args[:2])
    scores = _scores(mode, func, args, place, q, k, causal, **keywords)
    weights = scores.softmax(-1).nan_to_num(0)  # a query without a key attends to nothing
    y = _product(mode, func, args, place, weights, v.flatten(0, 1), theirs)
    y = torch.empty_like(args[0]).copy_(y.unflatten(0, q.shape[:2]))  # in the layout of q
    logsumexp = scores.logsumexp(-1)
    logsumexp = logsumexp.masked_fill(logsumexp == -torch.inf, 0)
    return y, logsumexp.unflatten(0, q.shape[:2])


def _for_each_query(q: torch.Tensor, *others: torch.Tensor) -> list[torch.Tensor]:
    """Repeat what several heads of queries share, so that each has its own."""
    shared = ((tensor, q.shape[1] // tensor.shape[1]) for tensor in others)
    return [tensor.repeat_interleave(n, 1) if n > 1 else tensor for tensor, n in shared]


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor


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
    if any(tensor is None for tensor in args[:6]):
        return NotImplemented
    keywords = {"attn_mask": attn_mask, "scale": scale}
    theirs = [None] * 3
    if mode.compare:
        repeated = *args[:2], *_for_each_query(*args[1:4]), *args[4:]
        theirs = [made.flatten(0, 1) for made in func(*repeated, **keywords)]
    dy, q, *others, y, logsumexp = map(_single, args[:6])
    k, v = _for_each_query(q, *others)
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
    grads = zip((dq, dk, dv), args[1:4], strict=True)  # those of shared heads are summed
    return tuple(
        made.unflatten(0, (*given.shape[:2], -1)).sum(2).to(given.dtype) for made, given in grads
    )


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
    "aten._grouped_mm.default": _shares,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": _attention_backward,
}
