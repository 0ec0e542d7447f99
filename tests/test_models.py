"""PyTorch models on jitconv's loops: outputs and gradients are torch's, and every multiply is in a row."""

import copy
import functools
import gc
import importlib
import json
import os
import sys
import threading

import numpy as np
import pytest
from matplotlib import cbook

import jitconv
from jitconv import CountMismatch, networks, plots
from jitconv.models import layers
from jitconv.models import measured as result
from jitconv.models import shell as words

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytorch = pytest.importorskip("jitconv.models.pytorch")
counter = pytest.importorskip("torch.utils.flop_counter")


@pytest.fixture(autouse=True)
def nothing_is_left_on():
    torch.manual_seed(0)
    with torch.enable_grad():  # which `bench` switches off
        yield
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    assert torch.backends.mha.get_fastpath_enabled()


def randn(*shape, **options):
    return torch.randn(*shape, dtype=torch.float64, **options)


def check(function, *tensors):
    """Output and gradients are torch's, counts are the formulas', and differences are small."""
    expected = function(*tensors)
    dy = torch.randn_like(expected)
    learned = [tensor for tensor in tensors if tensor.requires_grad]
    wanted = torch.autograd.grad(expected, learned, dy, allow_unused=True)
    with jitconv.measuring() as measured:
        y = function(*tensors)
        grads = torch.autograd.grad(y, learned, dy, allow_unused=True)
    torch.testing.assert_close(y, expected)
    for grad, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad, other)
    assert measured.verify().difference.relative < 1e-10
    alone = jitconv.measure(function, *(tensor.detach() for tensor in tensors)).verify()
    torch.testing.assert_close(alone.output, expected.detach())
    forward = [row for row in measured.rows if row.role == "forward"]
    assert [row.multiplies for row in alone.rows] == [row.multiplies for row in forward]
    return measured


CONVOLUTIONS = [
    ("standard", (2, 4, 7, 8), (3, 4, 3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    ("standard", (2, 4, 9), (3, 4, 3), {"stride": 2, "padding": 1}),
    ("standard", (4, 7, 8), (3, 4, 3, 3), {"padding": "same"}),
    ("standard", (1, 2, 5, 5), (3, 2, 2, 2), {"padding": "same"}),
    ("dilated", (1, 2, 9, 9), (2, 2, 3, 3), {"dilation": 2, "padding": 2}),
    ("dilated", (1, 2, 9), (2, 2, 3), {"dilation": 3}),
    ("grouped", (1, 4, 5, 6), (6, 2, 3, 3), {"groups": 2}),
    ("depthwise", (1, 4, 5, 6), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    ("depthwise", (2, 4, 9), (4, 1, 4), {"groups": 4, "stride": 3}),
    ("pointwise", (2, 4, 5, 6), (3, 4, 1, 1), {"stride": 2}),
    ("pointwise", (2, 4, 5), (3, 4, 1), {}),
    ("standard", (2, 4, 5, 6), (3, 4, 1, 1), {"padding": 1}),
]
TRANSPOSED = [
    ((2, 4, 5, 6), (4, 3, 4, 3), {"stride": 2, "padding": 1, "output_padding": (1, 0)}),
    ((2, 4, 6), (4, 2, 3), {"stride": 3, "output_padding": 2, "groups": 2}),
    ((4, 5, 6), (4, 3, 3, 3), {"dilation": 2}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("variant", "x", "weight", "options"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions(variant, x, weight, options, bias):
    function = F.conv1d if len(weight) == 3 else F.conv2d
    tensors = [randn(*shape, requires_grad=True) for shape in (x, weight, weight[:1])]
    measured = check(lambda *t: function(*t, **options), *tensors[: 2 + bias])
    assert [row.role for row in measured.rows] == ["forward", "input gradient", "weight gradient"]
    assert {row.variant for row in measured.rows} == {variant}
    assert {row.operation for row in measured.rows} == {
        "aten.convolution",
        "aten.convolution_backward",
    }


@pytest.mark.parametrize(("x", "weight", "options"), TRANSPOSED)
def test_transposed_convolutions(x, weight, options):
    function = F.conv_transpose1d if len(weight) == 3 else F.conv_transpose2d
    bias = randn(weight[1] * options.get("groups", 1), requires_grad=True)
    arrays = randn(*x, requires_grad=True), randn(*weight, requires_grad=True), bias
    measured = check(lambda *t: function(*t, **options), *arrays)
    assert [row.variant for row in measured.rows] == ["transposed"] * 3
    assert measured.rows[0].find_layer()[0].channels == len(arrays[2])


PRODUCTS = {
    "mm": (torch.mm, (3, 4), (4, 5)),
    "addmm": (lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2), (3, 5), (3, 4), (4, 5)),
    "bmm": (torch.bmm, (2, 3, 4), (2, 4, 5)),
    "one bmm": (torch.bmm, (1, 3, 4), (1, 4, 5)),
    "baddbmm": (lambda c, a, b: torch.baddbmm(c, a, b, beta=3), (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "mv": (torch.mv, (3, 4), (4,)),
    "addmv": (lambda c, a, b: torch.addmv(c, a, b, alpha=3), (3,), (3, 4), (4,)),
    "dot": (torch.dot, (4,), (4,)),
    "linear": (F.linear, (2, 3, 4), (5, 4), (5,)),
    "without bias": (F.linear, (3, 4), (5, 4)),
    "of one output": (F.linear, (3, 4), (1, 4), (1,)),
    "matmul": (torch.matmul, (2, 1, 3, 4), (3, 4, 5)),
    "einsum": (lambda a, b: torch.einsum("nij,njk->nik", a, b), (2, 3, 4), (2, 4, 3)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    function, *shapes = PRODUCTS[name]
    measured = check(function, *(randn(*shape, requires_grad=True) for shape in shapes))
    forward = measured.rows[0]
    assert forward.variant in ("pointwise", "grouped")
    assert forward.input_shape[-1] == 4
    assert forward.multiplies == np.prod(forward.output_shape) * 4
    gradients = [row for row in measured.rows if row.role != "forward"]
    assert all(row.multiplies == forward.multiplies for row in gradients)


EXPERTS = {  # of three, which share an axis of 12: rows, columns, or what is summed over
    "rows": ((12, 4), (3, 4, 8)),
    "columns": ((3, 4, 8), (8, 12)),
    "sums": ((4, 12), (12, 8)),
}


@pytest.mark.parametrize("layout", EXPERTS)
@pytest.mark.parametrize("ends", [(5, 9, 12), (0, 12, 12)])
def test_each_expert_of_a_mixture_is_a_row(layout, ends):
    factors = [torch.randn(*shape, requires_grad=True) for shape in EXPERTS[layout]]
    multiply = functools.partial(F.grouped_mm, offs=torch.tensor(ends, dtype=torch.int32))
    expected = multiply(*factors)
    dy = torch.randn(*expected.shape)
    wanted = torch.autograd.grad(expected, factors, dy)
    with jitconv.measuring() as measured:
        y = multiply(*factors)
        grads = torch.autograd.grad(y, factors, dy)
    for made, other in zip((y, *grads), (expected, *wanted), strict=True):
        torch.testing.assert_close(made, other)
    shares = [4 * 8 * n for n in np.diff((0, *ends)) if n]
    assert [row.multiplies for row in measured.rows] == shares * 3
    roles = [row.role for row in measured.rows[:: len(shares)]]
    assert roles[0] == "forward"
    assert sorted(roles[1:]) == ["input gradient", "weight gradient"]
    assert measured.verify().difference.relative < 1e-6
    assert not measured.not_measured


def test_products_of_as_many_matrices_may_come_as_those_of_experts():
    measured = jitconv.measure(F.grouped_mm, torch.randn(3, 4, 8), torch.randn(3, 8, 4))
    assert [row.multiplies for row in measured.rows] == [3 * 4 * 8 * 4]
    both = functools.partial(F.grouped_mm, offs=torch.tensor([1, 2, 3], dtype=torch.int32))
    with pytest.raises(RuntimeError, match="both"):
        jitconv.measure(both, torch.randn(3, 4, 8), torch.randn(3, 8, 4), compare=False)


def test_parameters_of_experts_are_those_that_tokens_met():
    class Experts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 4, 8))

        def forward(self, x, ends):
            return F.grouped_mm(x, self.weight, offs=ends)

    ends = torch.tensor([5, 5, 12], dtype=torch.int32)
    for compare in (True, False):
        measured = jitconv.measure(Experts(), torch.randn(12, 4), ends, compare=compare)
        assert [row.name for row in measured.rows] == ["Experts"] * 2
        assert measured.parameters == 2 * 4 * 8
        assert measured.flop_counter == 0
    with pytest.raises(RuntimeError, match="matrix batch sizes"):
        jitconv.measure(Experts(), torch.randn(12, 4), ends[:2])


MASK = torch.zeros(5, 6, dtype=torch.float64)
MASK[0], MASK[2, 3] = -torch.inf, -2.0


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"attn_mask": MASK[1:3].repeat(3, 1)[:5], "scale": 0.3}],
)
def test_attention(options):
    q = randn(2, 3, 5, 4, requires_grad=True)
    k, v = (randn(2, 3, 6, 4, requires_grad=True) for _ in "kv")
    attend = torch.nn.functional.scaled_dot_product_attention
    measured = check(lambda q, k, v: attend(q, k, v, **options), q, k, v)
    alone = jitconv.measure(lambda q, k, v: attend(q, k, v, **options), q, k, v).output
    assert alone.stride() == attend(q, k, v, **options).stride()
    assert [row.multiplies for row in measured.rows] == [2 * 3 * 5 * 6 * 4] * (2 + 5)
    assert [row.role for row in measured.rows] == ["forward"] * 2 + ["input gradient"] * 5


def test_attention_learns_also_when_its_gradient_is_not_measured():
    q, k, v = (randn(2, 3, 5, 4, requires_grad=True) for _ in "qkv")
    attend = torch.nn.functional.scaled_dot_product_attention
    expected = torch.autograd.grad(attend(q, k, v).square().sum(), (q, k, v))
    with jitconv.measuring() as measured:
        y = attend(q, k, v, attn_mask=torch.zeros(5, 5, dtype=torch.float64))
    for grad, other in zip(torch.autograd.grad(y.square().sum(), (q, k, v)), expected, strict=True):
        torch.testing.assert_close(grad, other)
    assert len(measured.rows) == 2


def test_attention_with_fewer_heads_of_keys():
    q, k, v = (randn(2, heads, 5, 4, requires_grad=True) for heads in (6, 2, 2))
    attend = torch.nn.functional.scaled_dot_product_attention
    measured = check(lambda q, k, v: attend(q, k, v, enable_gqa=True), q, k, v)
    assert [row.multiplies for row in measured.rows] == [2 * 6 * 5 * 5 * 4] * (2 + 5)
    assert not any("attention" in name for name in measured.not_measured)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_in_half_precision(dtype):
    q, k, v = torch.randn(3, 1, 2, 5, 4, dtype=dtype).requires_grad_()
    attend = torch.nn.functional.scaled_dot_product_attention
    with jitconv.measuring() as measured:
        y = attend(q, k, v)
        y.sum().backward()
    assert y.dtype == dtype
    assert {row.note for row in measured.rows} == {f"{str(dtype)[6:]} computed in float32"}
    assert measured.difference.relative < 0.02


def test_a_query_that_sees_no_key():
    q, k, v = (randn(1, 1, n, 4, requires_grad=True) for n in (5, 6, 6))
    attend = torch.nn.functional.scaled_dot_product_attention
    check(lambda *t: attend(*t, attn_mask=MASK), q, k, v)


@pytest.mark.parametrize("quiet", [torch.no_grad, torch.inference_mode])
def test_modules_of_attention_are_taken_apart(quiet):
    layer = torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2).double().eval()
    x = randn(2, 5, 8)
    with quiet(), jitconv.measuring() as measured:
        y = model(x)
    with jitconv.measuring() as learning:
        torch.testing.assert_close(y, model(x).detach())
    assert not learning.remarks
    one = 10 * 8 * 24 + 2 * 2 * 5 * 5 * 8 + 10 * 8 * 8 + 2 * 10 * 8 * 12
    assert measured.verify().multiplies == 2 * one
    assert not any("native_multi_head" in name for name in measured.not_measured)
    assert "without gradients, modules of attention may run as one operation" in str(measured)
    assert measured.parameters == sum(
        p.numel() for name, p in model.named_parameters() if "norm" not in name
    )


class Net(torch.nn.Module):
    """With a branch, a layer that is used twice, and a product of its own."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.BatchNorm2d(4))
        self.twice = torch.nn.Conv2d(4, 4, 1)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        x = self.twice(self.twice(self.stem(x)).relu())
        return self.head(x.mean((2, 3))) @ x.new_ones(3, 2)


def test_names_roles_and_parameters():
    model, x = Net(), torch.randn(2, 3, 8, 8)
    measured = jitconv.measure(model, x.numpy())
    assert [row.name for row in measured.rows] == [
        "Net.stem.0", "Net.twice", "Net.twice", "Net.head", "Net",
    ]  # fmt: skip
    assert [row.parameters for row in measured.rows] == [112, 20, 0, 15, 0]
    assert measured.parameters == 147
    listed = {name: calls for name, calls in measured.not_measured.items() if "norm" not in name}
    assert listed == {"aten.add_": 1, "aten.relu": 1, "aten.mean": 1}
    assert len(measured.not_measured) == 4
    assert not measured.output.requires_grad
    with jitconv.measuring() as learning:
        model(x).sum().backward()
    backward = [(row.name, row.role) for row in learning.rows[5:]]
    assert backward == [
        ("Net", "input gradient"),
        ("Net.head", "input gradient"),
        ("Net.head", "weight gradient"),
        ("Net.twice", "input gradient"),
        ("Net.twice", "weight gradient"),
        ("Net.twice", "input gradient"),
        ("Net.twice", "weight gradient"),
        ("Net.stem.0", "weight gradient"),
    ]


def test_weights_that_are_computed_are_counted_once():
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 4, 3))
    measured = jitconv.measure(lambda x: layer(x) + layer(x), torch.ones(1, 3, 4, 4))
    assert [row.parameters for row in measured.rows] == [4 * 27 + 4, 0]


def test_one_number_stands_for_both_axes():
    x, weight = torch.randn(1, 2, 6, 7), torch.randn(3, 2, 3, 3)

    def function(x, weight):
        return torch.ops.aten.convolution(x, weight, None, [2], [1], [1], False, [0], 1)

    measured = jitconv.measure(function, x, weight).verify()
    torch.testing.assert_close(measured.output, function(x, weight))


class Own(torch.nn.Module):
    """A layer, and a product of its own beside it."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) @ x.mT


def test_a_module_of_many_levels_folds_at_each():
    measured = jitconv.measure(torch.nn.Sequential(Own()), torch.ones(3, 4))
    for depth in (1, 2, 3, 4, 5):
        assert str(measured.fold(depth)).count("total") == 1
    assert str(measured.fold(3)).count("itself") == 1


def test_a_gradient_inside_a_module_is_a_gradient():
    class Slope(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x):
            y = self.layer(x).sum()
            return torch.autograd.grad(y, x)[0]

    measured = jitconv.measure(lambda x: Slope()(x), torch.ones(3, 4, requires_grad=True))
    assert [row.role for row in measured.rows] == ["forward", "input gradient"]
    assert {row.name for row in measured.rows} == {"Slope.layer"}


def test_a_backward_pass_of_what_was_not_measured():
    y = torch.nn.Linear(4, 2)(torch.ones(3, 4)).sum()
    with jitconv.measuring() as measured:
        y.backward()
    assert [(row.name, row.role) for row in measured.rows] == [("Global", "gradient")]


def test_second_derivatives():
    conv = torch.nn.Conv2d(2, 3, 3).double()
    x = randn(1, 2, 5, 5, requires_grad=True)
    with jitconv.measuring() as measured:
        (slope,) = torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()
    grads = [p.grad.clone() for p in conv.parameters()]
    conv.zero_grad()
    (slope,) = torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    for grad, p in zip(grads, conv.parameters(), strict=True):
        torch.testing.assert_close(grad, p.grad)
    assert measured.verify().parameters == 57
    assert len(measured.network.layers) == 1


def test_inference_tensors_are_taken_apart_too():
    with torch.inference_mode():
        layer, x = torch.nn.Linear(4, 2), torch.ones(2, 3, 4)
    assert jitconv.measure(layer, x).multiplies == 2 * 3 * 4 * 2


weight_norm = torch.nn.utils.parametrizations.weight_norm
spectral_norm = torch.nn.utils.parametrizations.spectral_norm
attention = functools.partial(torch.nn.MultiheadAttention, 8, 2)
PARAMETERS = {
    "keys": (lambda: attention(), [(5, 1, 8), (6, 1, 8)], 288),
    "keys, in parts too": (lambda: Twice(attention()), [(5, 1, 8), (6, 1, 8)], 288),
    "batch first": (lambda: attention(batch_first=True), [(2, 5, 8), (2, 5, 8)], 288),
    "recurrent": (lambda: torch.nn.GRU(6, 4, batch_first=True), [(2, 5, 6)], 144),
    "normed": (lambda: weight_norm(torch.nn.Linear(6, 4)), [(3, 6)], 28),
    "normed by its spectrum": (lambda: spectral_norm(torch.nn.Linear(6, 4)), [(3, 6)], 28),
    "as it was once": (lambda: torch.nn.utils.weight_norm(torch.nn.Linear(6, 4)), [(3, 6)], 28),
    "standardised": (lambda: Standardised(6, 4), [(3, 6)], 28),
    "with one bias": (lambda: Affine(torch.ones(4, 6), torch.tensor(1.0)), [(3, 6)], 24),
    "not turned": (lambda: Affine(torch.ones(6, 4), torch.ones(4)), [(3, 6)], 24),
    "of another module": (lambda: Borrowed(torch.nn.Linear(6, 4)), [(3, 6)], 24),
    "of a script": (lambda: torch.jit.script(torch.nn.Linear(6, 4)), [(3, 6)], 28),
    "of its size only": (lambda: Squared(), [(4, 4)], 16),
    "none": (lambda: Squared(torch.ones(4, 4)), [(4, 4)], 0),
    "first factor": (lambda: Turned(), [(4, 3)], 8),
    "halves": (lambda: Halves(), [(3, 4)], 32),
}


class Halves(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.both = torch.nn.Parameter(torch.ones(2, 4, 4))

    def forward(self, x):
        return x @ self.both[0] @ self.both[1] @ self.both[0]


class Twice(torch.nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.attend = attend

    def forward(self, q, k, v):
        return self.attend(q, q, q)[0] + self.attend(q, k, v)[0]


class Squared(torch.nn.Module):
    def __init__(self, weight=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, 4)) if weight is None else weight

    def forward(self, x):
        y = x @ self.weight
        return y @ y.T


class Standardised(torch.nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(1, keepdim=True), self.bias)


class Affine(torch.nn.Module):
    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = map(torch.nn.Parameter, (weight, bias))

    def forward(self, x):
        turned = len(self.weight) != x.shape[1]
        return x @ (self.weight.T if turned else self.weight) + self.bias.sum()


class Borrowed(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x @ self.inner.weight.T


class Turned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.ones(2, 4))

    def forward(self, x):
        return self.matrix @ x


@pytest.mark.filterwarnings("ignore:`torch", "ignore:.*weight_norm")
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_known_in_parts_and_made_of_others(name):
    make, shapes, expected = PARAMETERS[name]
    inputs = [torch.randn(*shape) for shape in shapes]
    model = make()
    measured = jitconv.measure(model, *inputs, *inputs[1:])
    assert measured.parameters == expected


def test_weights_that_autocast_makes_are_parameters():
    layer = torch.nn.Linear(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        measured = jitconv.measure(layer, torch.ones(2, 6))
    assert (measured.parameters, len(measured.network.layers)) == (28, 1)


def test_parameters_are_counted_once_in_any_precision_and_place():
    layer, attend = torch.nn.Linear(6, 4), torch.nn.MultiheadAttention(8, 2)
    with jitconv.measuring() as measured:
        for _ in range(2):
            layer(torch.ones(2, 6)).sum().backward()
            for p in layer.parameters():
                p.data = p.data - p.grad
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.ones(2, 6))
            attend(*torch.ones(3, 5, 2, 8))
    assert measured.parameters == 28 + 288


def test_layers_that_share_memory_count_it_once():
    a, b, whole = torch.nn.Linear(4, 6), torch.nn.Linear(4, 6), torch.ones(60)
    for layer, first in ((a, 0), (b, 30)):
        layer.weight.data = whole[first : first + 24].view(6, 4)
        layer.bias.data = whole[first + 24 : first + 30]
    c = torch.nn.Linear(4, 6)
    c.weight = torch.nn.Parameter(a.weight.data)
    with torch.no_grad(), jitconv.measuring() as measured:
        for layer in (a, b, a, b, c):
            layer(torch.ones(2, 4))
    assert [row.parameters for row in measured.rows] == [30, 30, 0, 0, 6]


def test_a_copy_is_of_what_the_parameter_was():
    weight = torch.nn.Parameter(torch.ones(4, 6))
    with jitconv.measuring() as measured:
        copied = weight.to(torch.bfloat16)
        weight.data = torch.ones(3000, 3000)
        torch.ones(2, 4, dtype=torch.bfloat16) @ copied
    assert measured.parameters == 24


def test_what_is_added_is_a_parameter_too():
    bias, x, weight = torch.ones(3, 1, 5), torch.ones(3, 2, 4), torch.ones(3, 4, 5)
    bias, weight = map(torch.nn.Parameter, (bias, weight))
    [row] = jitconv.measure(torch.baddbmm, bias, x, weight).rows
    assert (row.parameters, row.biases) == (75, 15)


def test_overlapping_parts_of_a_parameter():
    weight = torch.nn.Parameter(torch.ones(12))
    [row] = jitconv.measure(lambda x: weight[:6].unfold(0, 3, 1) @ x, torch.ones(3)).rows
    assert row.parameters == 6


def test_factors_alike_whose_copies_autograd_kept():
    x, weight = torch.ones(4, 4, requires_grad=True), torch.nn.Parameter(torch.ones(4, 4))
    copied = torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept)
    for first, roles in ((x, ["gradient"] * 2), (x.detach(), ["weight gradient"])):
        with jitconv.measuring() as measured, copied:
            (first @ weight).sum().backward()
        assert [row.role for row in measured.rows[1:]] == roles


def test_a_parameter_is_forgotten_with_its_storage():
    with jitconv.measuring() as measured:
        for n in range(20):
            weight = torch.nn.Parameter(torch.ones(64, 64))
            torch.ones(2, 64) @ weight.t()
            del weight
            torch.ones(5, 64) @ torch.ones(64, 60 + n % 4)
    assert [row.parameters for row in measured.rows] == [64 * 64, 0] * 20


def test_a_bias_that_is_added_on_its_own_is_a_layers():
    x = torch.ones(3, 4, 8).transpose(0, 1)
    [row] = (measured := jitconv.measure(torch.nn.Linear(8, 2), x)).rows
    assert (row.operation, row.parameters, row.biases, row.weights) == ("aten.mm", 18, 2, 16)
    assert measured.network.layers[0].bias


def test_the_model_runs_as_it_does_alone():
    class Dropped(torch.nn.Module):
        def forward(self, weight):
            return F.dropout(weight, 0.5)

    random = torch.nn.Linear(8, 8)
    torch.nn.utils.parametrize.register_parametrization(random, "weight", Dropped())
    for layer in (random, spectral_norm(torch.nn.Linear(8, 8))):
        outputs = []
        for run in (lambda x, layer=layer: jitconv.measure(layer, x).output, copy.deepcopy(layer)):
            torch.manual_seed(0)
            outputs.append([run(torch.ones(2, 8)) for _ in range(3)])
        for ours, theirs in zip(*outputs, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_gradients_of_copies_that_autograd_kept():
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 6))
    copied = torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept)
    with jitconv.measuring() as measured, copied:
        model(torch.ones(2, 4)).sum().backward()
    assert [(row.name[-1], row.role) for row in measured.rows[2:]] == [
        ("1", "input gradient"),
        ("1", "weight gradient"),
        ("0", "weight gradient"),
    ]


def test_an_operation_without_gradients_names_none():
    layer, x = torch.nn.Linear(3, 3), torch.eye(3, requires_grad=True)
    with jitconv.measuring() as measured:
        y = torch.linalg.inv(x)
        with torch.no_grad():
            layer(x)
        y.sum().backward()
    assert [(row.name, row.role) for row in measured.rows] == [
        ("Linear", "forward"),
        ("Global", "gradient"),
        ("Global", "gradient"),
    ]


def test_products_of_a_function_of_ones_own_have_roles():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(context, x, weight):
            context.save_for_backward(x, weight)
            return x @ weight

        @staticmethod
        def backward(context, dy):
            x, weight = context.saved_tensors
            return dy @ weight.T, x.T @ dy

    x, weight = torch.ones(2, 4, requires_grad=True), torch.ones(4, 5, requires_grad=True)
    with jitconv.measuring() as measured:
        Product.apply(x, weight).sum().backward()
    roles = [row.role for row in measured.rows]
    assert roles == ["forward", "input gradient", "weight gradient"]


def test_the_first_factor_may_be_the_weight():
    model, x = Turned(), torch.ones(4, 3, requires_grad=True)
    with jitconv.measuring() as measured:
        model(x).sum().backward()
    roles = {row.output_shape: row.role for row in measured.rows}
    assert roles == {(2, 3): "forward", (4, 3): "input gradient", (2, 4): "weight gradient"}
    assert [layer.channels for layer in measured.network.layers] == [2]


def test_what_torch_refuses_is_refused():
    x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="type"):
        jitconv.measure(torch.nn.functional.conv2d, x, weight, compare=False)
    with pytest.raises(RuntimeError, match="dtype"):
        jitconv.measure(torch.mm, torch.ones(2, 2), torch.ones(2, 2).bfloat16(), compare=False)


def test_an_addend_that_stands_for_all():
    matrix, vector = torch.ones(3, 4), torch.ones(4)
    for addend in (torch.tensor(2.0), torch.ones(1)):
        measured = jitconv.measure(torch.addmv, addend, matrix, vector)
        torch.testing.assert_close(measured.output, torch.addmv(addend, matrix, vector))
        assert measured.multiplies == 12


def test_measuring_cannot_be_nested():
    with jitconv.measuring(), pytest.raises(RuntimeError, match="is on already in this thread"):
        jitconv.measure(torch.mm, torch.ones(2, 3), torch.ones(3, 4))


def test_parameters_that_are_not_there_yet_and_functions_of_parameters():
    measured = jitconv.measure(torch.nn.LazyConv2d(3, 3), torch.ones(1, 2, 5, 5))
    assert (measured.parameters, measured.multiplies) == (57, 9 * 54)
    layer, x = torch.nn.Linear(4, 2), torch.ones(5, 4)
    held = dict(layer.named_parameters())

    def loss(held, x):
        return torch.func.functional_call(layer, held, (x,)).sum()

    slopes = torch.func.vmap(torch.func.grad(loss), (None, 0))
    measured = jitconv.measure(slopes, held, x)
    torch.testing.assert_close(measured.output, slopes(held, x))


def test_gradients_that_are_not_there():
    q = randn(1, 1, 3, 4, requires_grad=True)
    attend = torch.nn.functional.scaled_dot_product_attention
    with jitconv.measuring():
        assert torch.autograd.gradcheck(lambda q: attend(q, q, q, is_causal=True), (q,))


def test_a_model_in_training_says_so():
    model, x = (
        torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)),
        torch.randn(2, 1, 3, 3),
    )
    assert "in training mode" in str(jitconv.measure(model, x))
    assert model[1].num_batches_tracked == 1
    assert "in training mode" not in str(jitconv.measure(model.eval(), x))


def test_an_array_seen_backwards():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)[..., ::-1]
    measured = jitconv.measure(torch.nn.Conv2d(1, 1, 3), x)
    assert measured.rows[0].input_shape == (1, 1, 4, 4)


def test_an_operation_of_another_library_is_listed():
    library = torch.library.Library("jitconv_test", "DEF")
    library.define("stack(Tensor x) -> Tensor")
    library.impl("stack", lambda x: x * 2, "CPU")
    measured = jitconv.measure(torch.ops.jitconv_test.stack, torch.ones(3))
    assert measured.not_measured == {"jitconv_test.stack": 1}
    library._destroy()


def test_a_product_outside_of_modules():
    measured = jitconv.measure(torch.mm, torch.ones(2, 3), torch.ones(3, 4))
    assert (measured.name, measured.rows[0].name, measured.parameters) == ("mm", "Global", 0)
    assert measured.rows[0].input_shape == (2, 3)
    assert measured.rows[0].output_shape == (2, 4)


def test_a_checkpoint_runs_its_layers_again():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(2, 1, 1))
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    with jitconv.measuring() as measured:
        torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False).sum().backward()
    assert [(row.name[-1], row.role) for row in measured.rows] == [
        ("0", "forward"),
        ("1", "forward"),
        ("0", "forward"),
        ("1", "input gradient"),
        ("1", "weight gradient"),
        ("0", "input gradient"),
        ("0", "weight gradient"),
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    )
    measured = jitconv.measure(model.to(dtype), torch.randn(1, 2, 4, 4, dtype=dtype))
    assert measured.output.dtype == dtype
    note = f"{str(dtype)[6:]} computed in float32"
    assert [row.note for row in measured.rows] == [note] * 2
    assert f"{note} in 2 of them" in str(measured)
    assert measured.difference.relative < 0.02


def test_a_note_says_what_was_done_besides():
    assert pytorch._note(torch.float32, torch.device("cpu")) == ""
    note = pytorch._note(torch.float16, torch.device("cuda", 1))
    assert note == "float16 computed in float32, copied from cuda:1"


def test_what_is_not_measured_is_listed():
    def mixed(x):
        y = F.conv3d(x[None, None], x[None, None, :2, :2, :2]).sum() + torch.fft.rfft(x).real.sum()
        z = (x[0] + 1j * x[0]) @ (x[0] + 0j) + torch.ones(2, 2, dtype=torch.int64).mm(
            torch.ones(2, 2, dtype=torch.int64)
        ).sum()
        return y + z.real.sum() + torch.mm(x[0], x[1]).sum()

    x = torch.randn(4, 4, 4)
    measured = jitconv.measure(mixed, x)
    torch.testing.assert_close(measured.output, mixed(x))
    assert [row.operation for row in measured.rows] == ["aten.mm"]
    listed = measured.not_measured
    assert (listed["aten.convolution"], listed["aten._fft_r2c"], listed["aten.mm"]) == (1, 1, 2)
    assert "aten.convolution 1" in str(measured)
    reasons = "; ".join(measured.why())
    assert "it has a formula for aten.convolution, which is not measured here" in reasons


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_tensors_without_numbers_in_a_row_are_left_to_torch():
    layer = torch.nn.Conv2d(1, 2, 3)
    ghost = jitconv.measure(layer.to("meta"), torch.ones(1, 1, 4, 4, device="meta"))
    assert (ghost.rows, ghost.not_measured) == ([], {"aten.convolution": 1})
    sparse = jitconv.measure(lambda x: torch.mm(x.to_sparse_csr(), x), torch.eye(3))
    torch.testing.assert_close(sparse.output, torch.eye(3))
    assert sparse.rows == []


def test_views_with_their_signs_turned():
    a, b = torch.complex(torch.ones(3, 4), torch.randn(3, 4)).conj().imag, torch.randn(4, 2)
    measured = jitconv.measure(torch.mm, a, b)
    assert measured.multiplies == 24
    torch.testing.assert_close(measured.output, a @ b)


def test_an_addend_times_zero_is_not_read():
    a, b, nan = torch.ones(2, 3), torch.ones(3, 4), torch.full((2, 4), torch.nan)
    measured = jitconv.measure(lambda *t: torch.addmm(*t, beta=0), nan, a, b)
    torch.testing.assert_close(measured.output, a @ b)
    row = torch.arange(4.0)
    measured = jitconv.measure(lambda *t: torch.addmm(*t, beta=0.5), row, a, b)
    torch.testing.assert_close(measured.output, a @ b + row / 2)


def test_a_backward_pass_in_three_dimensions_runs_as_it_did():
    layer, x = torch.nn.Conv3d(1, 2, 2), torch.ones(1, 1, 3, 3, 3, requires_grad=True)
    with jitconv.measuring() as measured:
        layer(x).sum().backward()
    assert measured.rows == []
    assert measured.not_measured["aten.convolution_backward"] == 1


def test_the_operation_of_traced_models():
    x, weight = torch.ones(1, 1, 4, 4), torch.ones(2, 1, 3, 3)
    options = [1, 1], [0, 0], [1, 1], False, [0, 0], 1, False, False, True, True
    measured = jitconv.measure(lambda x: torch._convolution(x, weight, None, *options), x)
    assert [row.multiplies for row in measured.rows] == [2 * 4 * 9]


def test_the_number_of_threads_stays():
    threads = torch.get_num_threads()
    with jitconv.measuring():
        torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads


def test_a_call_that_compiled_is_timed_again(monkeypatch):
    ready = iter([0, 1, 1, 1])
    monkeypatch.setattr(layers, "made_ready", lambda: next(ready))
    calls = []
    layers.timed(lambda: calls.append(1))
    assert len(calls) == 2


def test_an_empty_batch_runs_as_it_did():
    measured = jitconv.measure(torch.nn.Conv2d(1, 2, 3), torch.ones(0, 1, 4, 4))
    assert measured.output.shape == (0, 2, 2, 2)
    assert (measured.multiplies, measured.not_measured) == (0, {"aten.convolution": 1})
    assert measured.difference is None


def test_flop_counter_gives_the_number_that_is_named():
    model, x = Net(), torch.randn(2, 3, 8, 8)
    with counter.FlopCounterMode(display=False) as flops:
        model(x).sum().backward()
    with jitconv.measuring() as measured:
        model(x).sum().backward()
    assert measured.flop_counter == flops.get_total_flops()
    differ = measured.flop_counter - measured.flops
    assert sum(int(line.split(":")[0].replace(",", "")) for line in measured.why()) == differ
    assert f"torch's FlopCounterMode: {measured.flop_counter:,} FLOPs" in str(measured)


WHY = [
    ((4, 4, 3, 2, 1), {}, ["it counts all taps of a transposed convolution, cropped or not"]),
    ((8, 4, 3, 2), {}, ["loops here multiply zeros around the image that it does not count"]),
    ((4, 4, 3, 2, 1), {"groups": 4}, ["it takes the gradient of a weight with groups", "all taps"]),
]


@pytest.mark.parametrize(("sizes", "options", "reasons"), WHY)
def test_why_the_flop_counter_differs(sizes, options, reasons):
    layer = torch.nn.ConvTranspose2d(*sizes, **options)
    x = torch.ones(1, sizes[0], 9, 9, requires_grad=True)
    with jitconv.measuring() as measured:
        layer(x).sum().backward()
    why = measured.why()
    assert all(any(reason in line for line in why) for reason in reasons)
    differ = sum(int(line.split(":")[0].replace(",", "")) for line in why)
    assert differ == measured.flop_counter - measured.flops


def test_why_the_flop_counter_differs_for_depthwise_layers_and_attention():
    with jitconv.measuring() as measured:
        torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)(torch.ones(1, 16, 8, 8)).sum().backward()
    dense = 2 * 16 * 9 * 64
    assert measured.why() == [
        f"+{15 * dense:,}: it takes the gradient of a weight with groups for one without"
    ]
    attend = torch.nn.functional.scaled_dot_product_attention
    measured = jitconv.measure(attend, *torch.ones(3, 1, 1, 4, 4))
    assert measured.why()[0].startswith("-256: it has no formula for aten._scaled_dot_product")


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_layout_of_images_stays(channels_last):
    form = torch.channels_last if channels_last else torch.contiguous_format
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ConvTranspose2d(4, 3, 2))
    model, x = model.to(memory_format=form), torch.randn(1, 3, 6, 6).to(memory_format=form)
    measured = jitconv.measure(model, x)
    assert measured.output.stride() == model(x).stride()
    assert measured.difference.relative < 1e-5


def test_other_threads_are_not_measured():
    layer, x = torch.nn.Conv2d(1, 2, 3), torch.ones(1, 1, 4, 4)
    with jitconv.measuring() as measured:
        thread = threading.Thread(target=layer, args=(x,))
        thread.start()
        thread.join()
        layer(x)
    assert [row.name for row in measured.rows] == ["Conv2d"]


def test_a_module_that_was_running_names_its_layers():
    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, x):
            with jitconv.measuring() as self.measured:
                return self.layer(x)

    model = Around()
    model(torch.ones(1, 3))
    assert [row.name for row in model.measured.rows] == ["Around.layer"]


def test_parameters_of_a_module_are_known_after_it_ran():
    class Turned(torch.nn.Linear):
        def forward(self):
            return self.weight.T

    table, turned = torch.nn.Embedding(5, 3), Turned(4, 3)
    with torch.no_grad(), jitconv.measuring() as measured:
        table(torch.arange(2)) @ table.weight.T
        torch.ones(2, 4) @ turned()
    assert [(row.name, row.parameters) for row in measured.rows] == [("Global", 15), ("Global", 12)]


def test_modules_of_other_threads_name_nothing():
    begun, done = threading.Event(), threading.Event()

    class Waiting(torch.nn.Module):
        def forward(self):
            begun.set()
            done.wait(10)

    thread = threading.Thread(target=Waiting())
    with jitconv.measuring() as measured:
        thread.start()
        begun.wait(10)
        torch.mm(torch.ones(2, 3), torch.ones(3, 4))
        done.set()
        thread.join()
    assert [row.name for row in measured.rows] == ["Global"]


def test_modules_in_a_thread_that_autograd_began_have_names():
    layer, x = torch.nn.Conv2d(1, 2, 3), torch.ones(1, 1, 4, 4)

    def backwards(mode):  # a GPU's backward pass takes the modes along
        with mode:
            layer(x)

    with jitconv.measuring() as measured:
        modes = pytorch._get_current_dispatch_mode_stack()
        thread = threading.Thread(target=backwards, args=(modes[-1],))
        thread.start()
        thread.join()
    assert [row.name for row in measured.rows] == ["Conv2d"]


def test_attention_runs_in_parts_once_a_gpu_is_in_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    q, k, v = (randn(2, 3, 5, 4, requires_grad=True) for _ in "qkv")
    attend = torch.nn.functional.scaled_dot_product_attention
    expected = torch.autograd.grad(attend(q, k, v).square().sum(), (q, k, v))
    with jitconv.measuring() as measured:
        grads = torch.autograd.grad(attend(q, k, v).square().sum(), (q, k, v))
    for grad, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, other)
    assert [row.multiplies for row in measured.verify().rows] == [2 * 3 * 5 * 5 * 4] * (2 + 4)
    assert not any("attention" in name for name in measured.not_measured)


def test_the_switches_of_attention_are_turned_back_by_the_last(monkeypatch):
    first, second = pytorch.attention_in_parts(), pytorch.attention_in_parts()
    switches = torch.backends.mha.get_fastpath_enabled, torch.backends.cuda.flash_sdp_enabled
    assert [switch() for switch in switches] == [True, True]
    first.__enter__()
    assert [switch() for switch in switches] == [False, True]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    second.__enter__()
    assert [switch() for switch in switches] == [False, False]
    first.__exit__(None, None, None)
    assert [switch() for switch in switches] == [False, False]
    second.__exit__(None, None, None)
    assert [switch() for switch in switches] == [True, True]
    with pytorch.attention_in_parts():
        assert [switch() for switch in switches] == [False, False]


def test_a_model_that_raises():
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise KeyError("its own")

    model = torch.nn.Sequential(torch.nn.MultiheadAttention(4, 2), Broken())
    with pytest.raises(KeyError, match="its own"):
        jitconv.measure(lambda x: model[1](model[0](x, x, x)[0]), torch.ones(2, 1, 4))
    with pytest.raises(RuntimeError, match=r"expected input.* to have 3 channels"):
        jitconv.measure(torch.nn.Conv2d(3, 2, 3), torch.ones(1, 2, 4, 4))
    with pytest.raises(RuntimeError, match=r"expected input.* to have 3 channels"):
        jitconv.measure(torch.nn.Conv2d(3, 2, 3), torch.ones(1, 2, 4, 4), compare=False)
    with pytest.raises(TypeError, match="positional argument"):
        jitconv.measure(torch.nn.Linear(3, 2))


def test_a_file_of_another_kind():
    with pytest.raises(ValueError, match=r"a file must be NAME.onnx, got 'model.pt'"):
        jitconv.measure("model.pt", torch.ones(1))


def test_a_model_with_nothing_to_measure():
    measured = jitconv.measure(lambda x: torch.randn(3) + x, torch.ones(3))
    assert measured.not_measured == {"aten.add": 1}
    assert (measured.multiplies, measured.difference, measured.why()) == (0, None, [])
    assert "✓" not in str(measured).split("measured:")[0]


def test_rows_of_a_step_are_told_apart():
    with jitconv.measuring() as measured:
        torch.nn.Conv2d(1, 2, 3)(torch.ones(1, 1, 4, 4, requires_grad=True)).sum().backward()
    assert [row.label for row in measured.rows] == ["Conv2d", "Conv2d dx", "Conv2d dw"]
    assert [row.weights for row in measured.rows] == [18, 0, 0]
    assert [row.parameters for row in measured.rows] == [20, 0, 0]
    labels = [tick.get_text() for tick in measured.plot().axes[1].get_xticklabels()]
    assert labels == ["Conv2d", "Conv2d dx", "Conv2d dw"]


@pytest.mark.parametrize("model", [3, None, np.ones(3)])
def test_a_model_that_is_none(model):
    with pytest.raises(TypeError, match=r"model: must be a torch.nn.Module, a function of tensors"):
        jitconv.measure(model, torch.ones(1))


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        (lambda: jitconv.measure(np.sin, 1), ["torch"]),
        (jitconv.measuring, ["torch"]),
        (lambda: jitconv.measure("m.onnx"), ["onnx", "onnxruntime"]),
    ],
)
def test_a_framework_that_is_not_installed(call, missing, monkeypatch):
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    for name in ("pytorch", "onnxfile"):
        monkeypatch.delitem(sys.modules, f"jitconv.models.{name}", raising=False)
        monkeypatch.delattr(jitconv.models, name, raising=False)
    with pytest.raises(ImportError, match=rf'pip install "jitconv\[{missing[0]}\]"'):
        call()


def test_a_wrong_layer_shows_in_the_difference(monkeypatch):
    def convolve(x, weight, bias, how):
        if weight.shape[0] == 5:
            weight = weight.copy()
            weight[0, 0, 0, 0] += 0.5
        return layers.convolve(x, weight, bias, how)

    monkeypatch.setattr(pytorch, "convolve", convolve)
    model = torch.nn.Sequential(*(torch.nn.Conv2d(c, m, 3) for c, m in [(2, 4), (4, 5), (5, 2)]))
    measured = jitconv.measure(model, torch.randn(1, 2, 9, 9))
    wrong = [row.name for row in measured.rows if row.difference.relative > 1e-4]
    assert wrong == ["Sequential.1"]
    assert measured.difference.relative > 1e-2


def test_a_wrong_count_fails_verify(monkeypatch):
    def convolve(*arguments):
        y, report = layers.convolve(*arguments)
        first = report.passes[0]
        passes = (first._replace(multiplies=first.multiplies + 1),)
        return y, type(report)(**{**vars(report), "passes": passes})

    monkeypatch.setattr(pytorch, "convolve", convolve)
    measured = jitconv.measure(torch.nn.Conv2d(1, 2, 3), torch.ones(1, 1, 4, 4))
    with pytest.raises(CountMismatch, match=r"^Conv2d: standard: .*73 measured"):
        measured.verify()
    assert "✗" in str(measured)


def test_differences_with_nan_and_infinity():
    nan, inf, between = np.nan, np.inf, result.Difference.between
    theirs = np.array([1.0, nan, inf, -4.0])
    assert between(theirs, theirs) == (0, 0)
    assert between(np.array([2.0, nan, inf, -4.0]), theirs) == (1, 0.25)
    for value in (1.0, inf):
        assert between(np.array([1.0, value, inf, -4.0]), theirs)[0] == inf
    for value in (1.0, nan, -inf):
        assert between(np.array([1.0, nan, value, -4.0]), theirs)[0] == inf
    assert between(np.ones(2), np.zeros(2)) == (1, inf)
    assert between(np.zeros(2), np.zeros(2)) == (0, 0)


def test_no_layers_tensors_outlive_the_layer():
    size = (1, 3, 12, 12)
    model = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(8)))
    alive = []

    def each(row):
        gc.collect()
        alive.append(sum(type(o) is torch.Tensor and o.shape == size for o in gc.get_objects()))

    jitconv.measure(model, torch.ones(size), each=each)
    assert len(alive) == 8
    assert max(alive) <= 4  # the model's input, a layer's input and its two outputs


def test_without_comparison():
    rows = []
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    measured = jitconv.measure(model, x, compare=False, each=rows.append)
    torch.testing.assert_close(measured.output, model(x).detach())
    assert rows == measured.rows
    assert measured.difference is None
    assert {row.difference for row in rows} == {None}


def test_the_table():
    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    measured = jitconv.measure(model, x)
    stem, twice, head, own = 2 * 16 * 27 * 4, 2 * 16 * 16, 24, 12
    assert measured.multiplies == stem + 2 * twice + head + own
    on_padding = 2 * 4 * 3 * (16 * 9 - 11 * 11)
    assert measured.multiplies_on_padding == on_padding
    assert measured.multiplies_in_bounds == measured.multiplies - on_padding
    assert measured.flops == 2 * measured.macs == 2 * measured.multiplies
    assert measured.by_variant() == {"standard": stem, "pointwise": 2 * twice + head + own}
    assert list(measured.by_variant()) == ["standard", "pointwise"]
    text = str(measured)
    assert f"Net: 147 parameters, {measured.multiplies:,} multiplies in 5 calls" in text
    assert text.count("✓") == 5 + 1 + 1
    found = json.loads(json.dumps(measured.to_dict()))
    assert sum(row["report"]["multiplies"] for row in found["rows"]) == found["multiplies"]
    assert found["rows"][0]["difference"]["relative"] < 1e-5
    assert measured._repr_html_().count("<tr>") == 1 + 5 + 1
    assert measured.to_markdown().count("\n|") == 2 + 5 + 1
    folded = measured.fold(2)
    assert folded.rows is measured.rows
    lines = [line.split() for line in str(folded).splitlines()[2:8]]
    assert [line[0] for line in lines] == ["Net", "stem", "twice", "head", "itself", "total"]
    assert lines[0][1:4] == ["5", "calls", f"{measured.multiplies:,}"]
    assert lines[2][1:5] == ["pointwise", "2", "calls", f"{2 * twice:,}"]
    with pytest.raises(ValueError, match="depth: must be at least 1, got 0"):
        measured.fold(0)


def test_pictures_and_what_if():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, 2, padding=1), torch.nn.Conv1d(8, 8, 3), torch.nn.Linear(2, 2)
    )
    measured = jitconv.measure(
        lambda x: model[2](model[1](model[0](x)[:, :, 0])), torch.ones(1, 4, 8, 8)
    )
    heights = [bar.get_height() for bar in plots.plot_network(measured).axes[0].patches]
    assert heights == [row.multiplies for row in measured.rows]
    assert len(measured.plot().axes) == 2
    done = networks.whatif(measured, keep=["Conv1d"])
    assert done.exchanged == {"Conv2d": ("Conv2d/dw", "Conv2d")}
    assert done.before.multiplies == measured.multiplies
    saved = 16 * (4 * 8 * 9 - 4 * 9 - 4 * 8)
    assert done.after.multiplies == done.before.multiplies - saved
    with pytest.raises(ValueError, match=r"how the layers of .* connect is not known"):
        done.after.run()


def test_what_if_is_for_one_image_however_many_were_measured():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )
    one, three = (networks.whatif(jitconv.measure(model, torch.ones(n, 3, 8, 8))) for n in (1, 3))
    assert three.saving == one.saving
    assert three.before.multiplies == one.before.multiplies == 36 * 8 * 27 + 8 * 36 * 5


def test_what_runs_inside_an_operation_is_not_measured_and_that_is_said():
    x = torch.ones(3, 3)

    def branches(x):
        for _ in range(2):
            x = torch.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, (x,))
        return x @ x

    measured = jitconv.measure(branches, x)
    assert (measured.multiplies, measured.not_measured["cond"]) == (27, 2)
    assert measured.remarks == [pytorch.INSIDE.format("cond")]


def test_what_runs_later_is_not_measured_and_that_is_said():
    class Later(torch.nn.Module):
        def forward(self, x):
            yield x + 1

    measured = jitconv.measure(Later(), torch.ones(2))
    assert not measured.not_measured
    assert pytorch.NOTHING in str(measured)
    assert pytorch.NOTHING not in str(jitconv.measure(torch.relu, torch.ones(2)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
def test_a_frozen_script_is_in_no_mode():
    script = torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval())
    x = torch.ones(1, 3, 5, 5)
    measured = jitconv.measure(torch.jit.freeze(script), x).verify()
    assert measured.multiplies == 9 * 4 * 27
    torch.testing.assert_close(measured.output, script(x))


def test_rows_of_a_shared_layer_have_names_of_their_own_as_data():
    names = [layer.name for layer in jitconv.measure(Net(), torch.ones(1, 3, 8, 8)).network.layers]
    assert names == ["Net.stem.0", "Net.twice", "Net.twice (2)", "Net.head"]


DEFORM = (
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, "
    "SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor"
)


@pytest.fixture
def deform_conv2d():
    """Torchvision's, or an operation of its name that jitconv computes on copies."""
    try:
        from torchvision.ops import deform_conv2d
    except (ImportError, RuntimeError):
        pass
    else:
        yield deform_conv2d
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define(DEFORM)
    library.define("_" + DEFORM.replace("conv2d(", "conv2d_backward(Tensor grad, ").replace(
        "-> Tensor", "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
    ))  # fmt: skip

    def run(function, arrays, options):
        arrays = [array.numpy().copy() for array in arrays]
        words = ("stride", "padding", "dilation")
        steps = {word: options[2 * n : 2 * n + 2] for n, word in enumerate(words)}
        *given, mask = arrays
        return function(*given, mask=mask if options[-1] else None, **steps)

    def forward(x, weight, offset, mask, bias, *options):
        y, _ = run(jitconv.deform_conv2d, (x, offset, weight, bias, mask), options)
        return torch.from_numpy(y)

    def backward(dy, x, weight, offset, mask, bias, *options):
        grads, _ = run(jitconv.gradients.deform_conv2d, (dy, x, offset, weight, mask), options)
        found = (grads.x, grads.weight, grads.offset, grads.mask, grads.bias)
        return tuple(torch.zeros_like(mask) if g is None else torch.from_numpy(g) for g in found)

    library.impl("deform_conv2d", forward, "CPU")
    library.impl("_deform_conv2d_backward", backward, "CPU")
    ops = torch.ops.torchvision

    class Deform(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arguments):
            ctx.save_for_backward(*arguments[:5])
            ctx.options = arguments[5:]
            return ops.deform_conv2d(*arguments)

        @staticmethod
        def backward(ctx, dy):
            grads = ops._deform_conv2d_backward(dy, *ctx.saved_tensors, *ctx.options)
            return (*grads, *[None] * 9)

    def call(x, offset, weight, bias, stride, padding, dilation, mask):
        use = mask is not None
        mask = mask if use else x.new_zeros(len(x), 1)
        G = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
        g = x.shape[1] // weight.shape[1]
        return Deform.apply(
            x, weight, offset, mask, bias, *stride, *padding, *dilation, g, G, use
        )  # fmt: skip

    yield call
    library._destroy()


@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolutions(deform_conv2d, masked):
    shapes = (2, 4, 7, 8), (2, 36, 3, 8), (6, 2, 3, 3), (6,), (2, 18, 3, 8)
    x, offset, weight, bias, mask = (randn(*shape, requires_grad=True) for shape in shapes)
    steps = (2, 1), (0, 1), (1, 1)

    def function(x, offset, weight, bias, *mask):
        return deform_conv2d(x, offset, weight, bias, *steps, mask[0] if mask else None)

    tensors = [x, offset, weight, bias, mask][: 4 + masked]
    measured = check(function, *tensors)
    assert [row.variant for row in measured.rows] == ["deformable"] * 3
    assert [row.role for row in measured.rows] == ["forward", "input gradient", "weight gradient"]
    assert "mask" in measured.rows[0].report.parts or not masked
    assert {row.flop_counter for row in measured.rows} == {0}


@pytest.fixture
def command(shell, tmp_path, monkeypatch):
    """Runs `measure` where a module `mine` makes models."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def net():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Dropout())\n"
        "def grey():\n"
        "    return torch.nn.Conv2d(1, 2, 3)\n"
        "class Two(torch.nn.Module):\n"
        "    def forward(self, a, b):\n"
        "        return a @ b\n"
        "class Picky(torch.nn.Module):\n"
        "    def forward(self, a):\n"
        "        assert len(a) == 5, 'five images'\n"
        "two, number = Two(), 3\n"
        "def stops():\n"
        "    return {}['size']\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield functools.partial(shell, "measure")
    sys.modules.pop("mine", None)


def test_the_command(command, tmp_path):
    status, lines, _ = command(
        "mine:net", "--input", "2x3x6x7", "--json", "rows.json", "--markdown", "rows.md"
    )
    assert status == 0
    assert lines[:2] == ["mine:net, as in inference", "input 0: 2×3×6×7 float32, random, seed 0"]
    row = next(line.split() for line in lines if line.startswith("Sequential.0"))
    assert row[:5] == ["Sequential.0", "standard", "2×4×4×5", "4,320", "✓"]
    assert "Sequential: 112 parameters, 4,320 multiplies in 1 call" in lines
    assert lines[-1] == "not measured: nothing"
    found = json.loads((tmp_path / "rows.json").read_text())
    assert (found["multiplies"], found["rows"][0]["name"]) == (4320, "Sequential.0")
    assert "| Sequential.0 | standard |" in (tmp_path / "rows.md").read_text(encoding="utf8")
    assert sorted(path.name for path in tmp_path.iterdir() if "__" not in path.name) == [
        "mine.py", "rows.json", "rows.md",
    ]  # fmt: skip


def test_an_endless_difference_is_a_word_in_json():
    assert result.Difference(np.inf, 0.5).to_dict() == {"absolute": "inf", "relative": 0.5}


def test_an_input_that_is_given_takes_no_photo(command, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3, 4, 4), np.float32))
    status, _, error = command("mine:net", "--input", "x.npy", "--image", "photo.png")
    assert status == 2
    assert "--image: the first input, 0, is given by --input already" in error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes by name")
def test_the_command_writes_through_links_and_into_pipes(command, tmp_path):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "real.json").chmod(0o600)
    (tmp_path / "link.json").symlink_to("real.json")
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    read = []
    reader.start()
    arguments = "mine:net", "--input", "1x3x5x5", "--json", "link.json", "--markdown", "pipe"
    assert command(*arguments)[0] == 0
    reader.join()
    assert "| layer | variant |" in read[0]
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["multiplies"] > 0
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o600


def test_an_interrupted_command_says_so(command, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(words, "prepare", interrupt)
    status, _, error = command("mine:net", "--input", "1x3x5x5")
    assert (status, error.endswith(" measure: interrupted\n")) == (130, True)


def test_the_command_with_arrays_photos_and_levels(command, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    status, lines, _ = command("mine:two", "--input", "a.npy", "--input", "3x4", "--no-compare")
    assert (status, lines[1]) == (0, "input 0: 2×3 float32, as given")
    photo = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    status, lines, _ = command(
        "mine:net", "--image", str(photo), "--input", "1x3x20x30", "--depth", "1"
    )
    assert lines[1] == "input 0: 1×3×20×30 float32, grace_hopper.jpg"
    assert [line.split()[0] for line in lines[5:7]] == ["Sequential", "total"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine"], "MODEL: must be a file.onnx or package.module:name, got 'mine'"),
        (["mine:Picky", "--input", "1x3"], "mine:Picky: AssertionError: five images"),
        (
            ["mine:net", "--input", "1x3x5x5", "--json", "a.json", "--markdown", "a.json"],
            "--json, --markdown: must be two files, got a.json for both",
        ),
        (["mine:net"], "--input: must give the input's shape, such as 1x3x224x224"),
        (["mine:net", "--input", "3,4"], "--input: must be a shape such as 1x3x224x224 or a .npy"),
        (["mine:net", "--input", "x=1x3x5x5"], "mine:net has no input x; it has inputs in order"),
        (["mine:net", "--input", "1x2x5x5"], "to have 3 channels, but got 2 channels instead"),
        (["mine:net", "--input", "none.npy"], "No such file or directory: 'none.npy'"),
        (["mine:net", "--image", "none.png"], "none.png: there is no such file"),
        (["mine:number", "--input", "1"], "mine:number must make a torch.nn.Module, got int"),
        (["mine:other", "--input", "1"], "MODEL: mine has no other"),
        (["mine:stops", "--input", "1"], "MODEL: mine:stops raised KeyError: 'size'"),
        (["mine:net", "--input", "1x-3x5x5"], "--input: must be a shape such as 1x3x224x224"),
        (["nowhere:net", "--input", "1"], "No module named 'nowhere'"),
        (["mine:net", "--input", "1x3x5x5", "--depth", "0"], "--depth: must be at least 1, got 0"),
        (["mine:net", "--input", "1", "--json", "no/a"], "--json: cannot write no/a"),
        (["mine:net", "--input", "1x3x5x5", "--seed", "-1"], "--seed: must be at least 0, got -1"),
    ],
)
def test_the_command_refuses(command, arguments, message):
    status, _, error = command(*arguments)
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


def test_a_photo_must_fit(command, tmp_path):
    photo = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    for shape in ("2x3x8x8", "1x4x8x8", "3x8x8"):
        status, _, error = command("mine:net", "--image", photo, "--input", shape)
        assert status == 2
        assert "--image: a photo has the shape 1×3×H×W, and the first input" in error
    status, lines, _ = command("mine:grey", "--image", photo, "--input", "1x1x4x5")
    assert (status, lines[1]) == (0, "input 0: 1×1×4×5 float32, grace_hopper.jpg")
    image = np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 4, 6)
    fitted = words._fitted(image, (1, 3, 2, 3), np.dtype(np.float32))
    assert (fitted == image[:, 1::2, 1::2]).all()
    assert fitted.shape == (1, 3, 2, 3)


def test_without_a_framework_jitconv_imports_none():
    """It must not: they take seconds."""
    subprocess = importlib.import_module("subprocess")
    code = "import sys, jitconv; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_paths_and_levels():
    assert result._path("Net.layer1.0") == ["Net", "layer1", "0"]
    assert result._path("/layer1/layer1.0/Conv") == ["layer1", "layer1.0", "Conv"]
