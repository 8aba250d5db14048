"""Sixteen integers at a time in numba: loaded from samples, reckoned with, stored.

What LLVM makes of a loop over samples depends on what it can prove of it, above all that what is written is not what is
read; for loops of 8 or 16 turns, the checks for that alone cost more than the loop. Lanes are vectors in LLVM's own
terms, whatever the processor. 8-bit samples and int16 numbers become lanes of 16 bits, wider ones lanes of 32.
Arithmetic wraps around, shifts to the right are signed, and a number beside lanes stands for sixteen.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16


class Lanes(types.Type):
    """numba's type of sixteen signed integers of 16 or 32 bits."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__(name=f"Lanes({bits})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(kind.bits), LANES))


def _splat(builder: Any, number: Any, kind: Lanes) -> Any:
    """Sixteen times a number, cut to the lanes' bits."""
    one = ir.VectorType(ir.IntType(kind.bits), LANES)
    short = builder.trunc(number, one.element) if number.type.width > kind.bits else number
    first = builder.insert_element(ir.Constant(one, ir.Undefined), short, ir.IntType(32)(0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(one, ir.Undefined), order)


def _define(function: Any, instruction: str) -> None:
    """An operator of Python between lanes, and between lanes and a number."""

    @infer_global(function)
    class _Typed(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
            if len(args) == 2 and isinstance(args[0], Lanes):
                if args[0] == args[1]:
                    return signature(args[0], args[0], args[0])
                if isinstance(args[1], types.Integer):
                    return signature(args[0], args[0], types.int64)
            return None

    @lower_builtin(function, Lanes, Lanes)
    def _lanes(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    @lower_builtin(function, Lanes, types.Integer)
    def _number(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(args[0], _splat(builder, args[1], sig.args[0]))


for _function, _instruction in {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.lshift: "shl",
    operator.rshift: "ashr",
    operator.and_: "and_",
    operator.xor: "xor",
}.items():
    _define(_function, _instruction)


def _place(builder: Any, pointer: Any, index: Any) -> Any:
    """Where sixteen numbers begin, as a pointer to a vector of them."""
    return builder.bitcast(builder.gep(pointer, [index]), ir.VectorType(pointer.type.pointee, LANES).as_pointer())


@intrinsic
def start_of(typing: Any, array: Any) -> Any:
    """A pointer to the first element of an array, which its caller keeps: nothing here counts references."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def pointer_to(typing: Any, address: Any, kind: Any) -> Any:
    """A pointer to an address, to numbers of a kind, or of the type of another pointer."""
    pointer = kind if isinstance(kind, types.CPointer) else types.CPointer(kind.instance_type)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.uint64, kind), generate


@intrinsic
def load(typing: Any, pointer: Any, index: Any) -> Any:
    """Sixteen numbers from an index on; all of them must exist, and none of uint16 be larger than 32767."""
    dtype = pointer.dtype
    kind = Lanes(16 if dtype in (types.uint8, types.int16) else 32)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = builder.load(_place(builder, *args), align=dtype.bitwidth // 8)
        if dtype.bitwidth == kind.bits:
            return found
        # What is seen to be signed and of 16 bits is multiplied by a faster instruction.
        return (builder.zext if dtype == types.uint8 else builder.sext)(found, context.get_value_type(kind))

    return kind(pointer, types.uintp), generate


@intrinsic
def store(typing: Any, pointer: Any, index: Any, lanes: Any) -> Any:
    """Lanes to sixteen numbers from an index on, cut to their type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, wanted = args[2], ir.VectorType(args[0].type.pointee, LANES)
        if value.type != wanted:
            value = builder.trunc(value, wanted)
        builder.store(value, _place(builder, args[0], args[1]), align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(pointer, types.uintp, lanes), generate


def _intrinsic_of_llvm(name: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = sig.args[0]
        values = [args[0], args[1] if isinstance(sig.args[1], Lanes) else _splat(builder, args[1], kind)]
        vector = values[0].type
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector, vector]), f"llvm.{name}.v{LANES}i{kind.bits}"
        )
        return builder.call(function, values)

    return generate


@intrinsic
def least(typing: Any, lanes: Any, other: Any) -> Any:
    """The smaller of each two."""
    return lanes(lanes, lanes if isinstance(other, Lanes) else types.int64), _intrinsic_of_llvm("smin")


@intrinsic
def most(typing: Any, lanes: Any, other: Any) -> Any:
    """The larger of each two."""
    return lanes(lanes, lanes if isinstance(other, Lanes) else types.int64), _intrinsic_of_llvm("smax")


@intrinsic
def wide(typing: Any, lanes: Any) -> Any:
    """The same numbers in lanes of 32 bits."""
    kind = Lanes(32)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0] if sig.args[0] == kind else builder.sext(args[0], context.get_value_type(kind))

    return kind(lanes), generate


@intrinsic
def like(typing: Any, lanes: Any, other: Any) -> Any:
    """Lanes as wide as others are, cut to it if need be."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(sig.return_type)
        if sig.args[0].bits == sig.return_type.bits:
            return args[0]
        return (builder.trunc if sig.args[0].bits > sig.return_type.bits else builder.sext)(args[0], kind)

    return other(lanes, other), generate


@intrinsic
def between(typing: Any, lanes: Any, other: Any, start: Any, end: Any) -> Any:
    """Lanes from number `start` to before `end`, and those of `other` around them."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = sig.args[0]
        order = ir.Constant(args[0].type, list(range(LANES)))
        late = builder.icmp_signed(">=", order, _splat(builder, args[2], kind))
        early = builder.icmp_signed("<", order, _splat(builder, args[3], kind))
        return builder.select(builder.and_(late, early), args[0], args[1])

    return lanes(lanes, lanes, types.int64, types.int64), generate
