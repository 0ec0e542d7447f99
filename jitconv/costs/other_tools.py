"""What other tools print for the same call, and the convention behind each number."""

from __future__ import annotations

import math
from typing import NamedTuple

from .. import table
from .formula import Costs

HEAD = ("tool", "prints", "÷ jitconv", "convention")
ALIGN = "<>><"


class Tool(NamedTuple):
    """A tool's number for a call.

    Attributes
    ----------
    name : str
        The tool and the version that was run to check its number; without one, it was not run.
    number : int or None
        What it prints; None where it has no rule for the call.
    convention : str
        What it counts.
    source : str
        Where the rule stands.
    """

    name: str
    number: int | None
    convention: str
    source: str


class OtherTools(tuple[Tool, ...]):
    """The numbers of all tools beside the measured multiplies."""

    measured: int

    def __new__(cls, tools: tuple[Tool, ...], measured: int) -> OtherTools:
        """Hold the numbers of tools, and the count to compare them with."""
        self = super().__new__(cls, tools)
        self.measured = measured
        return self

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = [("jitconv", f"{self.measured:,}", "1", "multiplies that the loops executed")]
        for tool in self:
            number = "–" if tool.number is None else f"{tool.number:,}"
            share = f"{tool.number / self.measured:.3g}" if tool.number and self.measured else "–"
            rows.append((tool.name, number, share, tool.convention))
        return rows

    def __str__(self) -> str:
        return "\n".join(table.text(HEAD, self._rows(), ALIGN))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table.html(HEAD, self._rows(), ALIGN, "what other tools print for this call")

    def to_markdown(self) -> str:
        """Return the numbers as a Markdown table."""
        return table.markdown(HEAD, self._rows(), ALIGN)


def other_tools(costs: Costs, output_shape: tuple[int, ...], multiplies: int) -> OtherTools:
    """Return what torch, fvcore, ptflops, thop, torchinfo, DeepSpeed and XLA print for a call.

    A separable or depthwise separable convolution is two layers there. Tools differ by four
    questions: MACs or FLOPs, the bias, the taps on padding, and whether a transposed convolution
    costs its input grid or its output grid.

    Parameters
    ----------
    costs : Costs
        The formulas of any convolution.
    output_shape : tuple of int
        Shape of its output.
    multiplies : int
        What was counted, to compare with.

    Returns
    -------
    OtherTools
        A tuple of `Tool`, printed as a table.

    Examples
    --------
    >>> import numpy as np, jitconv
    >>> x, weight = np.ones((4, 5, 7)), np.ones((4, 6, 4, 4))
    >>> report = jitconv.conv_transpose2d(x, weight, np.ones(6), stride=2, padding=1).report
    >>> for tool in report.other_tools():
    ...     print(tool.name, tool.number)
    torch FlopCounterMode 2.13 26880
    fvcore 0.1.5 13440
    ptflops 0.7.5 14280
    thop 0.1.1 53760
    torchinfo 1.8 54600
    DeepSpeed 27720
    XLA cost analysis 22464
    """
    deformable, transposed = costs.seen_as == "deformable", costs.seen_as == "transposed"
    value = {name: int(costs[name].value) for name in costs if "ratio" not in name}
    dense, in_bounds = value["dense"], value["in bounds"]
    bias = math.prod(output_shape) if "bias" in costs else 0
    images = output_shape[0] if len(output_shape) == 4 else 1
    macs = value["document"] if transposed else dense
    held = dense + bias  # parameters × output pixels
    if deformable:  # the convolutions that make offsets and mask are counted, the sampling is not
        macs = sum(
            n for name, n in value.items() if name.startswith("dense") and name.endswith("branch")
        )
        pixels = images * math.prod(output_shape[-2:])
        held = macs + value["dense, kernel"] + value.get("bias", 0) * pixels
    unknown = "; nothing for a deformable convolution" if deformable else ""
    grid = ", input grid" if transposed else ""
    wide = ", output grid: too large by stride²" if transposed else ""

    def known(number: int) -> int | None:
        return None if deformable else number

    return OtherTools(
        (
            Tool(
                "torch FlopCounterMode 2.13",
                2 * macs,
                f"FLOPs, 2 a MAC, no bias, padding counted{grid}{unknown}",
                "torch/utils/flop_counter.py, conv_flop_count",
            ),
            Tool(
                "fvcore 0.1.5",
                macs,
                f"MACs, called flops, no bias, padding counted{grid}{unknown}",
                "fvcore/nn/jit_handles.py, conv_flop_count",
            ),
            Tool(
                "ptflops 0.7.5",
                known((macs + bias) // max(1, images)),
                "MACs and bias, and 24 for each tap and output pixel, 25 with a mask"
                if deformable
                else f"MACs and bias of one image, padding counted{grid}",
                "ptflops/pytorch_ops.py, conv_flops_counter_hook",
            ),
            Tool(
                "thop 0.1.1",
                macs if deformable else dense,
                f"MACs, no bias, padding counted{wide}{unknown}",
                "thop/vision/calc_func.py, calculate_conv2d_flops",
            ),
            Tool(
                "torchinfo 1.8",
                held,
                f"MACs and bias, parameters × output pixels, padding counted{wide}",
                "torchinfo/layer_info.py, calculate_macs",
            ),
            Tool(
                "DeepSpeed",
                known(2 * macs + bias),
                f"FLOPs, 2 a MAC, and bias, padding counted{grid}{unknown}",
                "deepspeed/profiling/flops_profiler/profiler.py, _conv_flops_compute",
            ),
            Tool(
                "XLA cost analysis",
                known(2 * in_bounds),
                f"FLOPs, 2 a MAC, no bias, only taps in the image{unknown}",
                "xla/service/hlo_cost_analysis.cc, GetConvolutionFlops",
            ),
        ),
        multiplies,
    )
