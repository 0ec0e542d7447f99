"""Which module runs, and which numbers are its parameters."""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.autograd.graph import _engine_run_backward
from torch.multiprocessing.reductions import StorageWeakRef

# what frames run in which a module, a backward pass, or a Function of one's own is called
CALL, BACKWARD = torch.nn.Module._call_impl.__code__, _engine_run_backward.__code__
APPLY = torch.autograd.Function.apply.__func__.__code__


class Part(NamedTuple):
    """Where some of a parameter's numbers lie in its storage."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Part:
        """Return where a tensor's numbers lie."""
        return cls(tensor.storage_offset(), tensor.shape, tensor.stride())

    def fills(self, size: int) -> bool:
        """Return whether it is all of so many numbers."""
        covered = 1
        for stride, side in sorted(zip(self.stride, self.shape, strict=True)):
            covered *= side if stride == covered else 1
        return covered == size


class Numbers:
    """The numbers in a parameter's storage, and which of them were counted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.counted: bool | np.ndarray = False  # all or none, or for each number whether it was
        self.storages: list[StorageWeakRef] = []  # so that no other storage gets their address

    def count(self, part: Part) -> int:
        """Return how many numbers of a part were not counted before, and count them."""
        if self.counted is True:
            return 0
        before = 0 if self.counted is False else int(np.count_nonzero(self.counted))
        if part.fills(self.size):
            self.counted = True
            return self.size - before
        counted = np.zeros(self.size, bool) if self.counted is False else self.counted
        as_strided(counted[part.offset :], part.shape, part.stride)[...] = True
        after = int(np.count_nonzero(counted))
        self.counted = True if after == self.size else counted
        return after - before


class Modules:
    """Knows the module that runs, and the parameters of those that it saw run.

    Attributes
    ----------
    path : str
        Of the module; its first name is a class's. "Global" outside of modules.
    module : torch.nn.Module or None
    own : bool
        Whether a Function of one's own runs in it.
    """

    path: str
    module: Any
    own: bool

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, Any]] = {}  # by id; a module that is kept keeps it
        # by the address of a storage: the numbers that lie there, or a part of which was copied
        self._at: dict[int, tuple[Numbers, Part | None]] = {}
        # by the id of a parameter, which may get another storage
        self._of: dict[int, tuple[weakref.ref[torch.Tensor], Numbers]] = {}

    def look(self) -> None:
        """Find the module that this thread is in.

        A backward pass is outside of the module that asked for it. Looking for a module's call in
        the stack costs less than hooks around all calls.
        """
        frame: FrameType | None = sys._getframe(1)
        found: list[Any] = []  # up to one that is known, the innermost first
        self.own = False
        while frame is not None and frame.f_code is not BACKWARD:
            if frame.f_code is CALL:
                found.append(frame.f_locals["self"])
                if id(found[-1]) in self._known:
                    break
            self.own |= frame.f_code is APPLY and not found
            frame = frame.f_back
        for module in reversed(found):
            self._meet(module, type(module).__name__)
        self.path, self.module = self._known[id(found[0])] if found else ("Global", None)

    def _meet(self, module: Any, path: str) -> None:
        # in half the time of named_modules and parameters
        if module is None or id(module) in self._known:
            return
        self._known[id(module)] = path, module
        for parameter in module._parameters.values():
            if (storage := _storage_inside(parameter)) is not None:
                self._hold(parameter, storage)
        for name, inner in module._modules.items():
            self._meet(inner, f"{path}.{name}")

    def _hold(self, parameter: torch.Tensor, storage: Any) -> None:
        size, there = storage.nbytes() // parameter.itemsize, self._at.get(storage._cdata)
        own, numbers = self._of.get(id(parameter), (None, None))
        if own is None or own() is not parameter or numbers is None or numbers.size != size:
            shared = there is not None and there[1] is None and there[0].size == size
            numbers = there[0] if there is not None and shared else Numbers(size)
            self._of[id(parameter)] = weakref.ref(parameter), numbers
        self._keep(storage, numbers, None)

    def _keep(self, storage: Any, numbers: Numbers, copied: Part | None) -> None:
        numbers.storages.append(StorageWeakRef(storage))
        self._at[storage._cdata] = numbers, copied

    def find(self, tensor: torch.Tensor | None) -> tuple[Numbers, Part] | None:
        """Return a parameter's numbers and the part of them that a tensor is or copies, or None."""
        storage = _storage(tensor)
        if tensor is None or storage is None:
            return None
        there = self._at.get(storage._cdata)
        if (there is None or there[1]) and isinstance(tensor, torch.nn.Parameter):
            self._hold(tensor, storage)
            there = self._at[storage._cdata]
        if there is None:
            return None
        numbers, copied = there
        if copied is not None:
            return numbers, copied
        # a part that is read as another type is none
        fits = numbers.size * tensor.itemsize == storage.nbytes()
        return (numbers, Part.of(tensor)) if fits else None

    def follow(self, moved: torch.Tensor, made: Any) -> None:
        """Know what was made of a tensor, if that was of a parameter, as a copy of it."""
        found, storage = self.find(moved), _storage(made)
        if found is not None and storage is not None and storage._cdata not in self._at:
            self._keep(storage, *found)

    def parameter(self, tensor: torch.Tensor | None, word: str) -> tuple[Numbers, Part] | None:
        """Return the numbers of the parameter that a factor is, and its part of them, or None.

        If the running module computes its "weight" or "bias", `word`, of parameters, the factor
        stands for the one of its shape.
        """
        found, module = self.find(tensor), self.module
        if tensor is None or module is None or found is not None:
            return found
        names = word, f"{word}_v", f"{word}_orig"  # the last two of older normalisations
        made_of = [module._parameters[name] for name in names if name in module._parameters]
        if isinstance(made := dict(module._modules).get("parametrizations"), torch.nn.ModuleDict):
            made_of += made[word].parameters() if word in made else ()
        like = tensor.mT if tensor.ndim == 2 else tensor  # linear layers turn their weights
        alike = (p for p in made_of if p is not None and p.shape == like.shape)
        return self.find(next(alike, None)) if like.is_contiguous() else None

    def bias_beside(self, numbers: Numbers, part: Part, weight: torch.Tensor) -> Any:
        """Return the bias that a layer adds to its product with a weight (·, in, out), or None.

        To products of some layouts PyTorch adds it by an operation of its own.
        """
        if self.module is None or weight.stride(-2) != 1:  # layers turn their weights
            return None
        layers = [self.module]
        if isinstance(self.module, torch.nn.MultiheadAttention):
            layers.append(self.module.out_proj)
        for layer in layers:
            named = dict(layer._parameters.items())
            for name, own in named.items():
                bias = named.get(name.replace("weight", "bias")) if "weight" in name else None
                found = None if bias is None else self.find(own)
                if bias is not None and found is not None and found[0] is numbers:
                    row, rest = divmod(part.offset - own.storage_offset(), weight.shape[-2])
                    if bias.shape == own.shape[:1] and rest == 0 <= row < len(own):
                        return bias[row : row + weight.shape[-1]]
        return None

    def count(self, bias: torch.Tensor | None = None, **others: Any) -> tuple[int, int]:
        """Return how many new parameters these tensors hold, and how many of them the bias."""
        total = fresh = 0
        for word, tensor in {**others, "bias": bias}.items():
            found = self.parameter(tensor, word)
            fresh = 0 if found is None else found[0].count(found[1])
            total += fresh
        return total, fresh


def _storage_inside(parameter: torch.Tensor | None) -> Any:
    while parameter is not None and is_functorch_wrapped_tensor(parameter):
        parameter = get_unwrapped(parameter)
    return _storage(parameter)


def _storage(tensor: torch.Tensor | None) -> Any:
    if tensor is None:
        return None
    try:
        storage = tensor.untyped_storage()
        return storage if storage.data_ptr() else None
    except (RuntimeError, ValueError, NotImplementedError):  # lazy, or of a function transform
        return None
