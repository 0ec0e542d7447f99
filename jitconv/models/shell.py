"""A model and its inputs from the words of a command line."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import checks
from ..images.photo import load_image
from .measure import framework


def prepare(
    model: str, words: Sequence[str], photo: str | None, seed: int
) -> tuple[Any, list[Any], list[str]]:
    """Return a model, its inputs, and what to say about them, a line each.

    Parameters
    ----------
    model : str
        Path of an ONNX file, or "package.module:name" of a torch module or a function that makes
        one.
    words : sequence of str
        "1x3x224x224", "x=1x3x224x224" or "x=array.npy", one an input; for a scalar, its value.
    photo : str or None
        An image file for the first input.
    seed : int
        Of random inputs.

    Raises
    ------
    TypeError, ValueError
        If a word is no shape and no file, the model cannot be found or is none, an input lacks a
        shape, or the photo does not fit.
    ImportError
        If the model's package or the framework is not installed.
    """
    rng = np.random.default_rng(checks.integer("--seed", seed, 0))
    wanted: dict[str, tuple[np.dtype, Any]] = {}
    loaded: Any = model
    if model.lower().endswith(".onnx"):
        found = framework("onnxfile").signature(model)
        wanted = {name: (np.dtype(dtype), shape) for name, dtype, shape in found}
    else:
        loaded = _torch(model)
        for place in range(max(len(words), photo is not None)):
            wanted[str(place)] = np.dtype(np.float32), None
        if not wanted:
            raise ValueError("--input: must give the input's shape, such as 1x3x224x224")
    given: dict[str, Any] = {}
    for place, word in enumerate(words):
        name, _, text = word.rpartition("=")
        name = name or [*wanted, *map(str, range(place + 1))][place]
        if name not in wanted:
            has = ", ".join(wanted) if isinstance(loaded, str) else "inputs in order, without names"
            raise ValueError(f"--input: {model} has no input {name}; it has {has}")
        if name in given:
            raise ValueError(f"--input: {name} is given twice")
        dtype, shape = wanted[name]
        given[name] = _number(text, dtype) if shape == () else _read(text)
    inputs: list[np.ndarray] = []
    said = [f"{model}, as in inference" if ":" in model else model]
    for number, (name, (dtype, shape)) in enumerate(wanted.items()):
        stored = given.get(name, shape)
        if isinstance(stored, np.ndarray):
            if photo is not None and number == 0:
                raise ValueError(f"--image: the first input, {name}, is given by --input already")
            inputs.append(stored)
            how = "as given"
        elif photo is not None and number == 0:
            image, how = load_image(photo, largest=2**31)
            inputs.append(_fitted(image, stored, dtype))
        else:
            inputs.append(_drawn(name, stored, dtype, rng))
            how = f"random, seed {seed}"
        array = inputs[-1]
        said.append(f"input {name}: {'×'.join(map(str, array.shape))} {array.dtype}, {how}")
    return loaded, inputs, said


def _number(text: str, dtype: np.dtype) -> np.ndarray:
    words = {"0": False, "false": False, "1": True, "true": True}
    try:
        return np.array(words[text.lower()] if dtype.kind == "b" else text, dtype)
    except (KeyError, ValueError):
        raise ValueError(f"--input: must be one {dtype}, got {text!r}") from None


def _read(text: str) -> Any:
    if text.endswith(".npy"):
        try:
            return np.load(text, allow_pickle=False)
        except ValueError:
            raise ValueError(f"--input: {text} holds no array of numbers") from None
    try:
        return tuple(checks.integer("--input", int(n), 0, 2**63) for n in text.split("x") if text)
    except ValueError:
        raise ValueError(
            f"--input: must be a shape such as 1x3x224x224 or a .npy file, got {text!r}"
        ) from None


@contextlib.contextmanager
def _own_code(words: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"MODEL: {words} raised {type(error).__name__}: {error}") from error


def _torch(words: str) -> Any:
    module, colon, name = words.partition(":")
    if not (module and colon and name):
        raise ValueError(f"MODEL: must be a file.onnx or package.module:name, got {words!r}")
    torch = framework("pytorch").torch
    sys.path.insert(0, os.getcwd())
    with _own_code(words):
        imported = importlib.import_module(module)
    try:
        made = functools.reduce(getattr, name.split("."), imported)
    except AttributeError:
        raise ValueError(f"MODEL: {module} has no {name}") from None
    if callable(made) and not isinstance(made, torch.nn.Module):
        torch.manual_seed(0)
        with _own_code(words):
            made = made()
    if not isinstance(made, torch.nn.Module):
        raise TypeError(f"MODEL: {words} must make a torch.nn.Module, got {type(made).__name__}")
    return made.eval()


def _drawn(name: str, shape: Any, dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    if shape is None or any(isinstance(extent, str) for extent in shape):
        free = "any shape" if shape is None else f"the shape {'×'.join(map(str, shape))}"
        likely = zip(shape or (1, 3, 224, 224), (1, 3, 224, 224), strict=False)
        example = "x".join(str(usual if isinstance(e, str) else e) for e, usual in likely)
        raise ValueError(
            f"--input: {name} takes {free}; give its sizes, such as --input {name}={example}"
        )
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _fitted(image: np.ndarray, shape: Any, dtype: np.dtype) -> np.ndarray:
    """Return a photo (colours, H, W) in an input's shape, by its nearest pixels."""
    wanted = ("N", "C", "H", "W") if shape is None else tuple(shape)
    if len(wanted) == 4 and dtype.kind == "f":
        own = 1, *image.shape
        N, C, H, W = (
            size if isinstance(extent, str) else extent
            for extent, size in zip(wanted, own, strict=True)
        )
        if len(image) == 1 < C == 3:
            image = image.repeat(3, axis=0)
        elif len(image) == 3 > C == 1:
            image = image.mean(axis=0, keepdims=True)
        if N == 1 and len(image) == C:
            rows, columns = (
                (2 * np.arange(to) + 1) * size // (2 * to)
                for to, size in zip((H, W), image.shape[1:], strict=True)
            )
            return image[np.newaxis, :, rows[:, np.newaxis], columns].astype(dtype)
    raise ValueError(
        f"--image: a photo has the shape 1×3×H×W, and the first input {'×'.join(map(str, wanted))} "
        f"of {dtype}"
    )
