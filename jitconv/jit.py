"""The only place where Numba's options, caching, threads and launch safety are decided.

The kernels write ``@njit(parallel=True)`` as any Numba code does; the ``njit`` they import is this
one.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import os
import pickle
import platform
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NoReturn

import llvmlite.binding
import numba
import numpy as np
from numba import prange, types
from numba._dispatcher import compute_fingerprint
from numba._dynfunc import make_function
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic
from numba.np.ufunc import parallel

from .version import __version__

__all__ = ["get_num_threads", "info", "njit", "prange"]

# Fused multiply-add and nothing else: NaN and Inf survive, and the sum keeps the order in which it
# is written.
FASTMATH = {"contract"}

# glibc gives freed memory back above a threshold: twice the largest block, of at most 32 MB, that
# was ever freed. Asking for it again costs microseconds a page, and some calls took three times as
# long. Freeing this block, which is never touched, raises the threshold for good.
np.empty(2**25 - 2**13, np.uint8)

# Two threads that launch kernels at once abort the process under Numba's workqueue layer, so
# launches take turns.
_launch = threading.RLock()
_launched_before_fork = False
_made_ready = 0
_cache_folders: set[str] = set()
_this_thread = threading.local()  # its recorder: what one thread records, all others run


def _in_child() -> None:
    global _launch, _launched_before_fork
    _launch = threading.RLock()  # a thread that is not in the child may hold the old one
    _launched_before_fork = _launched()


def _launched() -> bool:
    try:
        return bool(numba.threading_layer())
    except ValueError:  # no parallel loop has run yet
        return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class _PartCode(JITCodeLibrary):
    # A part runs only in the kernels that call it, and is compiled into each. With machine code of
    # its own besides, a first call took 7 % longer. What calls other parts is optimized in kernels
    # only, or these would be optimized once more at each level; what is inlined, where it goes.
    slp = inline = False

    def _optimize_final_module(self) -> None:
        parts = [library for library in self._linking_libraries if isinstance(library, _PartCode)]
        if self.inline or not all(part.inline for part in parts):
            return
        usual = numba.config.SLP_VECTORIZE
        numba.config.SLP_VECTORIZE = usual or int(self.slp)  # Numba compiles one at a time
        try:
            super()._optimize_final_module()
        finally:
            numba.config.SLP_VECTORIZE = usual

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def _entry_point(library: Any, function: Any, environment: Any) -> Any:
    # only a key by which Numba finds the part
    library.finalize()
    return make_function(function.lookup_module(), function.qualname, "", 0, environment, library)


class _PartCompiler(Compiler):
    slp = inline = False

    def __init__(self, typing_context: Any, target_context: Any, *others: Any) -> None:
        super().__init__(typing_context, target_context, *others)
        self.state.targetctx.get_executable = _entry_point
        library = self.state.library = _PartCode(target_context.codegen(), "part")
        library.slp, library.inline = self.slp, self.inline


class _SlpCompiler(_PartCompiler):
    slp = True


class _InlineCompiler(_PartCompiler):
    inline = True


class _Part(CPUDispatcher):
    def __call__(self, *arguments: Any) -> NoReturn:
        name = self.py_func.__name__
        raise TypeError(f"{name}: only compiled loops can call it; call {name}.py_func from Python")


# without the functions that Python or C would call, which take a sixth of the time to compile
UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@intrinsic
def _call(typing_context, address, job, arguments):
    # by its address, a compiled function is not compiled again with its caller
    def codegen(context, builder, signature, values):
        pointer, number, packed = values
        given = [number, *cgutils.unpack_tuple(builder, packed)]
        kinds = (job, *arguments.types)
        function_type = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(pointer, function_type.as_pointer())
        status, _ = context.call_conv.call_function(builder, function, types.none, kinds, given)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(address, job, arguments), codegen


def _all_jobs(address, *arguments):
    jobs = arguments[-1].shape[0]
    if jobs == 1:  # no thread is woken
        _call(address, np.intp(0), arguments)
    else:
        for job in prange(jobs):
            _call(address, np.intp(job), arguments)


def _in_turn(function: Callable, *arguments: Any) -> None:
    for job in range(arguments[-1].shape[0]):
        function(job, *arguments)


def with_room(function: Callable) -> Callable:
    """Return a function whose calls find room for their frames.

    From 3.11 on CPython keeps frames in chunks of 16 KB. Where a loop's calls reach past the end
    of one, each call allocates and frees the next (python/cpython#142183; late releases of 3.13
    keep it). At some depths of the stack that doubled the time to compile, and to measure a model.
    The frame of this function asks for half a megabyte, and so its chunk has a whole one: the calls
    below have the other half.
    """

    def call(*arguments: Any) -> Any:
        return function(*arguments)

    call.__code__ = call.__code__.replace(co_stacksize=2**16)
    return call


def _numba_njit(function: Callable, **options: Any) -> Any:
    """Compile by `numba.njit`, whose cache files are named by what they hold.

    Numba numbers them. Of two processes that compile at once, one for float32 and one for float64,
    both take the same number, and then one may load, and run, the other's machine code.
    """
    dispatcher = numba.njit(function, **options)
    if numba.config.DISABLE_JIT:
        return dispatcher
    compile_by_numba = dispatcher.compile

    def compile_and_bind(signature: Any) -> Any:
        made = compile_by_numba(signature)
        for result in dispatcher.overloads.values():  # a part that prints looks for its environment
            for environment in result._find_referenced_environments():
                result.library.codegen.set_env(environment.env_name, environment)
        return made

    dispatcher.compile = with_room(compile_and_bind)
    load = dispatcher._cache.load_overload

    def load_and_tell(*signature: Any) -> Any:
        global _made_ready
        _made_ready += 1
        return load(*signature)

    dispatcher._cache.load_overload = load_and_tell
    if options.get("cache"):
        file = dispatcher._cache._cache_file
        numbered, save = file._data_name, file.save

        def save_by_name(key: Any, data: Any) -> None:
            name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
            file._data_name = lambda number: f"{numbered(number).removesuffix('.nbc')}.{name}.nbc"
            save(key, data)

        file.save = save_by_name
    return dispatcher


def made_ready() -> int:
    """Return how often loops were compiled, or loaded from Numba's cache: their call takes longer.

    Examples
    --------
    >>> from jitconv import conv2d
    >>> x, weight = np.ones((1, 4, 4)), np.ones((1, 1, 3, 3))
    >>> y, report = conv2d(x, weight)
    >>> before = made_ready()
    >>> y, report = conv2d(x, weight)
    >>> made_ready() == before
    True
    """
    return _made_ready


class _Jobs:
    def __init__(self, function: Callable, **options: Any) -> None:
        self.job = _numba_njit(function, **UNWRAPPED, **options)
        self.all = _numba_njit(_all_jobs, **{**options, "parallel": True})
        self.stats = self.all.stats
        self.compiled: dict[bytes, Callable] = {}  # by the types of the arguments

    def __call__(self, *arguments: Any) -> None:
        kinds = compute_fingerprint(arguments)
        if kinds not in self.compiled:
            collects = gc.isenabled()
            gc.disable()  # it takes a tenth of the time to compile
            try:
                self.compiled[kinds] = self._compile(arguments)
            finally:
                if collects:
                    gc.enable()
        self.compiled[kinds](arguments)

    def _compile(self, arguments: tuple) -> Callable:
        kinds = tuple(map(numba.typeof, arguments))
        job = self.job.get_compile_result(types.none(types.intp, *kinds))
        address = job.library.get_pointer_to_function(job.fndesc.llvm_func_name)
        # without Numba's dispatcher, which would look at the types once more
        return functools.partial(
            self.all.compile((types.intp, types.StarArgTuple.from_types(kinds))), address
        )


def njit(
    function: Callable | None = None,
    *,
    parallel: bool = False,
    jobs: bool = False,
    slp: bool = False,
    inline: bool = False,
) -> Callable:
    """Compile a kernel on its first call, keep its machine code in Numba's cache, launch it safely.

    Parameters
    ----------
    function : callable, optional
        The loops; left out in ``@njit(parallel=True)``.
    parallel : bool
        Whether ``prange`` loops share the threads. A parallel kernel is called from Python only,
        never from a kernel. A kernel that is neither parallel nor a job is called from kernels
        only, and is not cached on its own.
    jobs : bool
        Whether the kernel is one job of a parallel loop, and its first argument the job's number.
        Python calls it without that number, and it runs once for each row of its last argument,
        on all threads. Long kernels are ready sooner so: Numba compiles the body of a ``prange``
        four times over.
    slp : bool
        Whether a part's loops are so short that LLVM writes them out number by number. Its second
        vectorizer (superword-level parallelism), which Numba leaves out, makes vectors of these.
        Longer parts it may spoil: Winograd's transforms took twice as long.
    inline : bool
        Whether a part is written into each part that calls it. LLVM then knows the constants that
        it is given there, and unrolls loops over them; Numba comes through its code only once.

    Returns
    -------
    callable
        The compiled function. ``py_func`` is the same loop nest in plain Python, to step through;
        of a parallel kernel, ``compiled`` is Numba's dispatcher, with `inspect_asm` and
        `parallel_diagnostics`. Without `function`, the decorator.

    Raises
    ------
    RuntimeError
        From a parallel kernel's call, in a process forked from one that had run kernels on GNU
        OpenMP.

    Warns
    -----
    UserWarning
        From a parallel kernel's call, if Numba's cache is full or damaged; the kernel is then
        compiled without it.

    Examples
    --------
    >>> @njit(parallel=True)
    ... def double(a):
    ...     for i in prange(a.size):
    ...         a[i] *= 2
    >>> a = np.ones(3)
    >>> double(a)
    >>> a
    array([2., 2., 2.])
    """
    if function is None:
        return functools.partial(njit, parallel=parallel, jobs=jobs, slp=slp, inline=inline)
    options: dict[str, Any] = {"parallel": parallel, "fastmath": FASTMATH, "error_model": "numpy"}
    if not (parallel or jobs):
        # Machine code finds a function by its name, its types, and a number that each process
        # counts anew: what a factory made for other sizes must have a name of its own.
        for cell in function.__closure__ or ():
            function.__qualname__ += f"_{cell.cell_contents}"
        compiler = _SlpCompiler if slp else _InlineCompiler if inline else _PartCompiler
        options["forceinline"] = inline
        kernel: Any = numba.njit(function, pipeline_class=compiler, **UNWRAPPED, **options)
        if isinstance(kernel, Dispatcher):
            kernel.__class__ = _Part
        else:  # with NUMBA_DISABLE_JIT=1
            kernel.py_func = function
        return kernel
    in_python: Callable = functools.partial(_in_turn, function) if jobs else function
    make: Any = _Jobs if jobs else _numba_njit
    is_compiled = not numba.config.DISABLE_JIT
    if not is_compiled:  # compiled loops never warn about Inf or NaN
        compiled = np.errstate(all="ignore")(in_python)
    else:
        try:
            compiled = make(function, cache=True, **options)
        except RuntimeError:  # no folder for the cache can be written: compile in each process
            compiled = make(function, **options)
        if compiled.stats.cache_path:
            _cache_folders.add(compiled.stats.cache_path)

    @functools.wraps(function)
    def launched(*arrays):
        recorder = getattr(_this_thread, "recorder", None)
        if recorder is not None:
            recorder(in_python, arrays)
            return None
        if is_compiled and _launched_before_fork and numba.threading_layer() == "omp":
            raise RuntimeError(
                "this process was forked from one that had run jitconv's loops, which GNU OpenMP "
                "does not survive; start it with multiprocessing.get_context('spawn')"
            )
        with _launch:
            try:
                return launch.compiled(*arrays)
            except (OSError, EOFError, pickle.UnpicklingError) as error:  # loops raise none of them
                warnings.warn(
                    f"Numba's cache in {', '.join(_cache_folders)} is full or damaged ({error}); "
                    "the loops are compiled again in each process until it is deleted",
                    stacklevel=3,
                )
                launch.compiled = make(function, **options)
                return launch.compiled(*arrays)

    launch: Any = launched
    launch.py_func, launch.compiled = function, compiled
    return launch


def get_num_threads() -> int:
    """Return how many threads the launches of this Python thread use.

    Numba's own function takes two locks each time, to see whether the threads are started.

    Examples
    --------
    >>> get_num_threads() == numba.get_num_threads()
    True
    """
    started = parallel._is_initialized
    return int(parallel._get_num_threads() if started else numba.get_num_threads())


@contextlib.contextmanager
def limited_threads(most: float) -> Iterator[None]:
    """Let the launches of this Python thread use no more threads than that."""
    before = get_num_threads()
    numba.set_num_threads(int(max(1, min(most, before))))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextlib.contextmanager
def recording(recorder: Callable[[Callable, tuple], None]) -> Iterator[None]:
    """Hand the loops and arrays of each launch of this thread to `recorder`, which runs them."""
    before = getattr(_this_thread, "recorder", None)
    _this_thread.recorder = recorder
    try:
        yield
    finally:
        _this_thread.recorder = before


def info() -> dict[str, str]:
    """Return what decides how fast and where the loops run.

    That is the versions, processor, threads, threading layer and cache folder.

    Returns
    -------
    dict of str
        Each thing's name and value, as `python -m jitconv info` prints them.

    Examples
    --------
    >>> names = sorted(info())
    >>> names[:5]
    ['cache', 'jitconv', 'llvmlite', 'matplotlib', 'numba']
    >>> names[5:]
    ['numpy', 'processor', 'python', 'threading layer', 'threads']
    """
    versions = {
        name: metadata.version(name) for name in ("numba", "llvmlite", "numpy", "matplotlib")
    }
    chosen_later = f"{numba.config.THREADING_LAYER} (chosen at the first parallel loop)"
    return {
        "jitconv": __version__,
        "python": platform.python_version(),
        **versions,
        "processor": f"{llvmlite.binding.get_host_cpu_name()}, {os.cpu_count()} logical cores",
        "threads": f"{get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}",
        "threading layer": numba.threading_layer() if _launched() else chosen_later,
        "cache": ", ".join(sorted(_cache_folders)) or "none",
    }
