"""What does a model of one's own cost? Its layers run on jitconv's loops, and are counted."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .measured import Measured, Row

NEEDS = {"pytorch": ("torch", ["torch"]), "onnxfile": ("onnx", ["onnx", "onnxruntime"])}


def measure(
    model: Any,
    *inputs: Any,
    compare: bool = True,
    each: Callable[[Row], object] | None = None,
) -> Measured:
    """Run a PyTorch or ONNX model with its layers on jitconv's loops, and count.

    Convolutions and matrix products are computed by the loops of the matching variant; the
    model goes on with that output. What jitconv has no loops for runs as before, and is listed.

    Parameters
    ----------
    model : torch.nn.Module, callable, str or pathlib.Path
        A module, a function of tensors, or an ONNX file. A module runs without gradients, and in
        the mode that it is in: `model.eval()` first, to measure inference. To pass keywords, wrap
        it: ``lambda x: model(x, mask=mask)``.
    *inputs : torch.Tensor, numpy.ndarray or dict
        What the model is called with. NumPy arrays become tensors of their own type, which most
        models want to be float32. An ONNX model takes arrays in the order of its inputs, or one
        dict by name.
    compare : bool
        Whether the framework computes each layer as well, to compare the outputs.
    each : callable, optional
        Called with each `Row` as soon as it is done.

    Returns
    -------
    Measured
        A row for each layer, totals, and the model's own output.

    Raises
    ------
    TypeError
        If `model` is neither a function nor a file.
    ValueError, TypeError
        If an ONNX file is damaged, or takes other inputs. A PyTorch model raises what it raises.
    OSError
        If there is no such file.
    ImportError
        If the framework is not installed.

    Notes
    -----
    Tensors on a GPU are copied to the loops and back. There PyTorch rounds convolutions to TF32
    unless ``torch.backends.cudnn.allow_tf32 = False``, which shows in the differences, and
    attention runs as its products: FlopCounterMode counts one more in a backward pass of fused
    attention, which makes the scores again.

    References
    ----------
    Names and nesting follow torch.utils.flop_counter.FlopCounterMode.

    Examples
    --------
    >>> import numpy as np, torch, jitconv
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())
    >>> measured = jitconv.measure(model, np.ones((1, 3, 16, 16), np.float32))
    >>> measured.verify().multiplies, measured.not_measured
    (55296, {'aten.relu': 1})
    """
    if isinstance(model, (str, os.PathLike)):
        if Path(model).suffix.lower() != ".onnx":
            raise ValueError(
                f"model: a file must be NAME.onnx, got {str(model)!r}; "
                "of a PyTorch model pass the module itself"
            )
        arrays = inputs[0] if len(inputs) == 1 and isinstance(inputs[0], dict) else inputs
        return framework("onnxfile").run(Path(model), arrays, compare, each)
    if not callable(model):
        raise TypeError(
            "model: must be a torch.nn.Module, a function of tensors, or the path of an ONNX "
            f"file, got {type(model).__name__}"
        )
    return framework("pytorch").run(model, inputs, compare, each)


def measuring(
    *, compare: bool = True, each: Callable[[Row], object] | None = None
) -> AbstractContextManager[Measured]:
    """Measure all PyTorch code of a block, backward passes included.

    Only the thread that entered the block is measured; blocks cannot be nested. Each forward layer,
    and each gradient of its input and of its weight, becomes a row of the result, which grows while
    the block runs.

    Parameters
    ----------
    compare, each
        As in `measure`.

    Returns
    -------
    context manager
        Of a `Measured` without output.

    Raises
    ------
    ImportError
        If PyTorch is not installed.

    Examples
    --------
    >>> import torch, jitconv
    >>> layer, x = torch.nn.Conv2d(3, 8, 3), torch.ones(1, 3, 16, 16)
    >>> with jitconv.measuring() as measured:
    ...     layer(x).sum().backward()
    >>> [(row.name, row.role, row.multiplies) for row in measured.rows]
    [('Conv2d', 'forward', 42336), ('Conv2d', 'weight gradient', 42336)]
    """
    return framework("pytorch").measuring(compare, each)


def framework(name: str) -> Any:
    """Return the module that runs the models of a framework, or say what to install."""
    extra, packages = NEEDS[name]
    try:
        return importlib.import_module(f".{name}", __package__)
    except ImportError as error:
        if error.name not in packages:
            raise
        raise ImportError(
            f'this needs {" and ".join(packages)}: pip install "jitconv[{extra}]"', name=error.name
        ) from None
