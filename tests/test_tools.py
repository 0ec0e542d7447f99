"""The numbers said of other tools are those that the tools print."""

import contextlib
import io
import logging
import warnings

import numpy as np
import pytest

import jitconv

CASES = [  # C, M, size, options of torch's layer
    (4, 6, (5, 7), {"kernel_size": 3, "padding": 1}, 2),
    (4, 6, (5, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2, "bias": False}, 1),
    (4, 6, (9, 9), {"kernel_size": 3, "padding": 2, "dilation": 2}, 1),
    (4, 8, (6, 5), {"kernel_size": (3, 2), "groups": 4}, 3),
    (5, 7, (4, 4), {"kernel_size": 1, "bias": False}, 1),
]
TRANSPOSED = [
    (4, 6, (5, 7), {"kernel_size": 4, "stride": 2, "padding": 1}, 1),
    (4, 6, (5, 7), {"kernel_size": 3, "stride": 2, "groups": 2, "bias": False}, 2),
]


def layer(case, kind):
    torch = pytest.importorskip("torch")
    C, M, size, options, N = case
    module = getattr(torch.nn, kind)(C, M, **options)
    bias = module.bias.detach().numpy() if module.bias is not None else None
    function = jitconv.conv2d if kind == "Conv2d" else jitconv.conv_transpose2d
    kept = {name: v for name, v in options.items() if name not in ("kernel_size", "bias")}
    x = np.zeros((N, C, *size), np.float32)
    report = function(x, module.weight.detach().numpy(), bias, **kept).report
    said = {tool.name.split()[0]: tool.number for tool in report.other_tools()}
    return module, torch.from_numpy(x), said


def torch_(module, x):
    counter = pytest.importorskip("torch.utils.flop_counter")
    with counter.FlopCounterMode(display=False) as flops:
        module(x)
    return flops.get_total_flops()


def fvcore(module, x):
    found = pytest.importorskip("fvcore.nn").FlopCountAnalysis(module, x)
    found.uncalled_modules_warnings(False)
    return found.unsupported_ops_warnings(False).total()


def ptflops(module, x):
    count = pytest.importorskip("ptflops").get_model_complexity_info
    with contextlib.redirect_stdout(io.StringIO()):
        return count(module, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False)[0]


def thop(module, x):
    return pytest.importorskip("thop").profile(module, (x,), verbose=False)[0]


def torchinfo(module, x):
    return pytest.importorskip("torchinfo").summary(module, input_data=x, verbose=0).total_mult_adds


@pytest.mark.parametrize("tool", [torch_, fvcore, ptflops, thop, torchinfo])
@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, "Conv2d") for case in CASES] + [(case, "ConvTranspose2d") for case in TRANSPOSED],
)
def test_a_tool_prints_what_is_said_of_it(tool, case, kind, monkeypatch):
    module, x, said = layer(case, kind)
    monkeypatch.setattr(logging.root, "disabled", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        assert tool(module, x) == said[tool.__name__.rstrip("_")]


def test_exact_tools_agree_with_the_loops():
    """XLA counts taps in the image, as the loops do: a worked 2×2 'same' layer has 7² of 8²."""
    x, weight = np.ones((4, 4, 4)), np.ones((1, 4, 2, 2))
    report = jitconv.conv2d(x, weight, padding=((0, 1), (0, 1)), method="direct").report
    said = {tool.name: tool.number for tool in report.other_tools()}
    assert said["XLA cost analysis"] == 2 * report.multiplies_in_bounds == 2 * 4 * 7 * 7


@pytest.mark.parametrize("bias", [False, True])
def test_torchinfo_goes_by_the_name_of_a_deformable_convolution(bias):
    """It counts the parameters of whatever is called a convolution, as torchvision's layer is."""
    torch = pytest.importorskip("torch")

    class DeformConv2d(torch.nn.Conv2d):
        def forward(self, x, offset):
            return super().forward(x)

    module = DeformConv2d(4, 6, 3, groups=2, bias=bias)
    x, offset = torch.zeros(2, 4, 6, 5), torch.zeros(2, 18, 4, 3)
    arrays = [array.detach().numpy() for array in (x, offset, *module.parameters())]
    report = jitconv.deform_conv2d(*arrays).report
    said = {tool.name.split()[0]: tool.number for tool in report.other_tools()}
    assert torchinfo(module, (x, offset)) == said["torchinfo"]


def test_the_samples_of_deformable_convolutions_are_overlooked():
    x = np.ones((2, 5, 5))
    branch, weight = np.zeros((18, 2, 3, 3)), np.ones((3, 2, 3, 3))
    report = jitconv.deformable_layer(x, branch, weight).report
    tools = report.other_tools()
    assert [tool.number for tool in tools] == [
        2 * 18 * 2 * 9 * 9, 18 * 2 * 9 * 9, None, 18 * 2 * 9 * 9, (18 + 3) * 2 * 9 * 9, None, None
    ]  # fmt: skip
    assert tools._repr_html_().count("<tr>") == tools.to_markdown().count("\n") == 9
