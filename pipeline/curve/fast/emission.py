"""Building blocks for LLVM IR, and its way into numba: a `routine` is an LLVM function that compiled Python can call.

Everything that crosses is a 64-bit integer (an address, a count), so a routine has one machine signature whatever the field.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I1, I8, I32, I64, I128 = (ir.IntType(bits) for bits in (1, 8, 32, 64, 128))
ADDRESS = ir.PointerType()

#: What `emit` functions get: the builder and the routine's arguments as i64 values.
Emit = Callable[[ir.IRBuilder, Sequence[Any]], None]


def pointer(builder: ir.IRBuilder, address: Any) -> Any:
    """An i64 address as a pointer."""
    return builder.inttoptr(address, ADDRESS)


def offset(builder: ir.IRBuilder, base: Any, distance: Any) -> Any:
    """The pointer `distance` bytes (an int or an i64 value) after `base`."""
    if isinstance(distance, int):
        if distance == 0:
            return base
        distance = ir.Constant(I64, distance)
    return builder.gep(base, [distance], source_etype=I8)


def external(builder: ir.IRBuilder, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """An LLVM intrinsic, declared once a module."""
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def prefetch(builder: ir.IRBuilder, address: Any) -> None:
    """Asks for the cache line at a pointer, for reading, into the second-level cache: the first is full of what is worked on."""
    function = external(builder, "llvm.prefetch.p0", ir.VoidType(), [ADDRESS, I32, I32, I32])
    builder.call(function, [address, *(ir.Constant(I32, hint) for hint in (0, 2, 1))])


@contextmanager
def counted(builder: ir.IRBuilder, count: Any, initial: Sequence[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """A loop that runs `count` >= 1 times over values kept in registers.

    Yields (values of this turn, list to fill with those of the next); after the block the builder stands behind the loop and
    the second list holds the last turn's values.
    """
    before = builder.block
    body = builder.append_basic_block("turn")
    after = builder.append_basic_block("after")
    builder.branch(body)
    builder.position_at_end(body)
    turn = builder.phi(I64)
    turn.add_incoming(ir.Constant(I64, 0), before)
    current = [builder.phi(value.type) for value in initial]
    following: list[Any] = []
    yield list(current), following
    end = builder.block
    for phi, first, later in zip(current, initial, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, end)
    done = builder.add(turn, ir.Constant(I64, 1))
    turn.add_incoming(done, end)
    builder.cbranch(builder.icmp_unsigned("<", done, count), body, after)
    builder.position_at_end(after)


def internal(module: Any, name: str, arity: int, emit: Emit) -> Any:
    """The module's own function of that name, emitted on first use."""
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * arity), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    # Vector registers that are spilled must not straddle cache lines.
    function.attributes.alignstack = 64
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit(builder, function.args)
    builder.ret_void()
    return function


def routine(name: str, arity: int, emit: Emit) -> Any:
    """A function that numba-compiled code calls with `arity` integers. Out of line, so that each caller stays small."""

    def define(_: Any, *__: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Sequence[Any]) -> Any:
            builder.call(internal(builder.module, name, arity, emit), arguments)
            return context.get_dummy_value()

        return types.void(*[types.intp] * arity), generate

    define.__name__ = name
    # numba counts the parameters.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["context", *(f"argument{i}" for i in range(arity))]
    vars(define)["__signature__"] = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return intrinsic(define)


def emit_copy(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """The routine (out, source, count): copies points."""
    function = external(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [ADDRESS, ADDRESS, I64, I1])
    size = builder.shl(arguments[2], ir.Constant(I64, 6))
    builder.call(function, [pointer(builder, arguments[0]), pointer(builder, arguments[1]), size, ir.Constant(I1, 0)])
