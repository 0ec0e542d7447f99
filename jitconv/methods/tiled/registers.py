"""What is not plain Python: arrays that LLVM keeps in vector registers, and copies through them."""

from __future__ import annotations

import math

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, register_jitable, type_callable
from numba.np.arrayobj import make_array, populate_array

from ...jit import njit


def _vectors() -> tuple[int, int]:
    """Return how many bytes a vector register of this machine has, and how many registers."""
    features = llvmlite.binding.get_host_cpu_features()
    if numba.config.CPU_FEATURES is not None:
        features = {name[1:]: name[0] == "+" for name in numba.config.CPU_FEATURES.split(",")}
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx2"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


BYTES, REGISTERS = _vectors()
# LLVM writes out loops over fewer numbers one by one, and takes no vectors; without AVX-512, where
# these are two vectors, it does so in some loops still, unless its other vectorizer helps (slp).
LANES = 16
# Output channels of a tile: with two vectors of pixels each, or three with AVX-512, their sums, the
# pixels and a weight fill the registers.
MANY = 8 if BYTES == 64 else 6
BLOCK = 8 if BYTES == 64 else 4  # output channels that threads share come in such blocks


def registers(like, rows, vectors):
    """Return an uninitialised array that LLVM keeps in registers.

    Its shape is (rows, `numbers`), for so many vectors of like's type.
    """
    return np.empty((rows, numbers(vectors, like.itemsize)), like.dtype)


@register_jitable
def numbers(vectors: int, itemsize: int) -> int:
    """Return how many numbers so many vectors hold, in whole LANES, and one LANES at least."""
    return max(1, vectors * BYTES // itemsize // LANES) * LANES


@type_callable(registers)
def _type(context):
    def array(like, rows, vectors):
        if all(isinstance(size, types.IntegerLiteral) for size in (rows, vectors)):
            return types.Array(like.dtype, 2, "C")
        return None

    return array


@lower_builtin(registers, types.Array, types.IntegerLiteral, types.IntegerLiteral)
def _on_stack(context, builder, signature, arguments):
    # np.empty would lie on the heap, where LLVM must store and reload it at every step
    _, rows, vectors = signature.args
    element = context.get_data_type(signature.return_type.dtype)
    itemsize = context.get_abi_sizeof(element)
    shape = (rows.literal_value, numbers(vectors.literal_value, itemsize))
    # For some processors LLVM fills only half of a register unless it is told otherwise;
    # set.add, because llvmlite refuses the names of attributes that it does not know.
    set.add(builder.function.attributes, f'"prefer-vector-width"="{8 * BYTES}"')
    builder.function.attributes.add("noinline")
    with builder.goto_entry_block():
        memory = builder.alloca(ir.ArrayType(element, math.prod(shape)))
        memory.align = BYTES
    array = make_array(signature.return_type)(context, builder)
    integers = [
        context.get_constant(types.intp, n) for n in (*shape, shape[1] * itemsize, itemsize)
    ]
    populate_array(
        array,
        data=builder.bitcast(memory, element.as_pointer()),
        shape=cgutils.pack_array(builder, integers[:2]),
        strides=cgutils.pack_array(builder, integers[2:]),
        itemsize=integers[3],
        meminfo=None,
    )
    return array._getvalue()


def _vector(context, builder, kind, array, index, size):
    """Return the address of a vector of so many numbers, from number `index` of an array on."""
    first = builder.gep(make_array(kind)(context, builder, array).data, [index])
    element = context.get_data_type(kind.dtype)
    return builder.bitcast(first, ir.VectorType(element, size).as_pointer())


def move(source, at, step, target, to):
    """Copy LANES numbers, a constant step apart in source; LLVM would copy them one by one."""
    at, to = int(at), int(to)
    target.reshape(-1)[to : to + LANES] = source.reshape(-1)[at : at + step * LANES : step]


@type_callable(move)
def _type_of_move(context):
    def nothing(source, at, step, target, to):
        return types.none if isinstance(step, types.IntegerLiteral) else None

    return nothing


@lower_builtin(move, types.Array, types.Integer, types.IntegerLiteral, types.Array, types.Integer)
def _move(context, builder, signature, arguments):
    source, at, _, target, to = arguments
    step, element = signature.args[2].literal_value, context.get_data_type(signature.args[0].dtype)
    align, number = context.get_abi_sizeof(element), ir.IntType(32)
    lanes = ir.Constant(ir.VectorType(number, LANES), [number(step * j) for j in range(LANES)])

    kind = signature.args[0]
    values = builder.load(_vector(context, builder, kind, source, at, step * LANES), align=align)
    values = builder.shuffle_vector(values, ir.Constant(values.type, ir.Undefined), lanes)
    where = _vector(context, builder, signature.args[3], target, to, LANES)
    builder.store(values, where, align=align)
    return context.get_dummy_value()


def spread(source, at, count, target, to):
    """Copy `count` numbers, LANES at most, to every second place of target; LANES are read.

    The places between are left alone: another thread may write them at the same time.
    """
    target[int(to) :][: 2 * count : 2] = source[int(at) : int(at) + count]


@type_callable(spread)
def _type_of_spread(context):
    return lambda source, at, count, target, to: types.none


@lower_builtin(spread, types.Array, *[types.Integer] * 2, types.Array, types.Integer)
def _spread(context, builder, signature, arguments):
    source, at, count, target, to = arguments
    element, number = context.get_data_type(signature.args[0].dtype), ir.IntType(32)
    align, numbers = context.get_abi_sizeof(element), ir.VectorType(number, 2 * LANES)

    def shuffled(vector, lanes):
        order = ir.Constant(numbers, [number(lane) for lane in lanes])
        return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)

    values = builder.load(
        _vector(context, builder, signature.args[0], source, at, LANES), align=align
    )
    values = shuffled(values, [j // 2 for j in range(2 * LANES)])
    wanted = ir.Constant(ir.VectorType(number, 1), ir.Undefined)
    wanted = builder.insert_element(wanted, builder.trunc(count, number), number(0))
    wanted = shuffled(wanted, [0] * 2 * LANES)
    # the even lanes, of the first `count` numbers
    lanes = [number(LANES if j % 2 else j // 2) for j in range(2 * LANES)]
    mask = builder.icmp_signed("<", ir.Constant(numbers, lanes), wanted)
    where = _vector(context, builder, signature.args[3], target, to, 2 * LANES)
    kind = ir.FunctionType(ir.VoidType(), [values.type, where.type, number, mask.type])
    name = f"llvm.masked.store.v{2 * LANES}f{8 * align}.p0"
    store = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(store, [values, where, number(align), mask])
    return context.get_dummy_value()


def transpose(source, at, near, far, target, to, step):
    """Copy a square of LANES × LANES numbers, rows to columns, through vector registers.

    Row i begins at (i % 4) * near + (i // 4) * far in source; columns are a step apart in target.
    """
    starts = np.array([i % 4 * near + i // 4 * far for i in range(LANES)], np.intp)
    transpose_rows(source, at, starts, 0, target, to, step)


def transpose_rows(source, at, starts, first, target, to, step):
    """Copy a square as `transpose` does, whose row i begins at at + starts[first + i]."""
    rows = [int(at + starts[int(first + i)]) for i in range(LANES)]
    square = np.array([source[row : row + LANES] for row in rows])
    for j, column in enumerate(square.T):
        target[int(to + j * step) :][:LANES] = column


@type_callable(transpose)
def _type_of_transpose(context):
    return lambda source, at, near, far, target, to, step: types.none


@type_callable(transpose_rows)
def _type_of_transpose_rows(context):
    return lambda source, at, starts, first, target, to, step: types.none


@lower_builtin(transpose, types.Array, *[types.Integer] * 3, types.Array, *[types.Integer] * 2)
def _transpose(context, builder, signature, arguments):
    _, at, near, far, *_ = arguments
    places = [_apart(builder, _apart(builder, at, i % 4, near), i // 4, far) for i in range(LANES)]
    return _columns(context, builder, signature, arguments, places)


@lower_builtin(transpose_rows, *[types.Array, types.Integer] * 3, types.Integer)
def _transpose_rows(context, builder, signature, arguments):
    _, at, starts, first, *_ = arguments
    data = make_array(signature.args[2])(context, builder, starts).data
    places = []
    for i in range(LANES):
        start = builder.load(builder.gep(data, [builder.add(first, ir.IntType(64)(i))]))
        places.append(builder.add(at, start))
    return _columns(context, builder, signature, arguments, places)


def _apart(builder, first, count, step):
    return builder.add(first, builder.mul(step, ir.IntType(64)(count)))


def _columns(context, builder, signature, arguments, places):
    source, *_, target, to, step = arguments
    element = context.get_data_type(signature.args[0].dtype)
    align = context.get_abi_sizeof(element)
    set.add(builder.function.attributes, f'"prefer-vector-width"="{8 * BYTES}"')

    def vector(kind, array, place):
        return _vector(context, builder, kind, array, place, LANES)

    rows = [builder.load(vector(signature.args[0], source, p), align=align) for p in places]
    apart = LANES // 2
    while apart > 0:  # exchange quarters: of squares of 2 * apart numbers, and then of half that
        kept = [j if j & apart == 0 else LANES + j - apart for j in range(LANES)]
        moved = [j + apart if j & apart == 0 else LANES + j for j in range(LANES)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), mask) for mask in (kept, moved)]
        for i in range(LANES):
            if i & apart == 0:
                pair = rows[i], rows[i + apart]
                rows[i], rows[i + apart] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        apart //= 2
    for j, row in enumerate(rows):
        place = _apart(builder, to, j, step)
        builder.store(row, vector(signature.args[4], target, place), align=align)
    return context.get_dummy_value()


@njit
def aligned(size, like):
    # an array that begins where a cache line does: no vector of it lies across two of them
    numbers = np.empty(size + BYTES // like.itemsize, like.dtype)
    first = -numbers.ctypes.data % BYTES // like.itemsize
    return numbers[first : first + size]
