"""Pickles of numpy arrays, read without unpickling: nothing that a file names is looked up, imported or called.

A pickle is a program for a machine with a stack. Here a few of its instructions are interpreted: those that make plain
values, lists, dictionaries, and arrays of integers as numpy writes them. The names of numpy's functions are compared
with a short list and stand for what is done here by hand; any other name, and any other instruction, is refused.
"""

from __future__ import annotations

import math
import pickletools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from codecsieve.errors import CacheError
from codecsieve.text import quoted, shortened

MOST_BYTES = 1 << 28
_MOST_STEPS = 1 << 22
_DEEPEST = 8
_PLAIN = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "BINFLOAT",
})  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset({"PROTO", "FRAME"})
_NUMPY = ("numpy.core", "numpy._core")
_MARK = object()


class _Name:
    """A function or class that the file names, as text."""

    def __init__(self, module: object, name: object) -> None:
        known = {
            ("numpy", "ndarray"): "array",
            ("numpy", "dtype"): "dtype",
            ("_codecs", "encode"): "encode",
            **{(f"{root}.multiarray", "_reconstruct"): "reconstruct" for root in _NUMPY},
            **{(f"{root}.multiarray", "scalar"): "scalar" for root in _NUMPY},
            **{(f"{root}.numeric", "_frombuffer"): "from buffer" for root in _NUMPY},
        }
        if not (isinstance(module, str) and isinstance(name, str)) or (module, name) not in known:
            raise _RefusedError(f"it names {shortened(f'{module}.{name}')}, which is not numpy's for arrays")
        self.means = known[module, name]


class _Type:
    """A dtype that is being made: its code, then its byte order."""

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or code not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise _RefusedError(f"it holds values of type {quoted(code)}, not integers")
        self.made = np.dtype(code)

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise _RefusedError("a type in it is not as numpy writes it")
        self.made = self.made.newbyteorder(state[1])


class _Array:
    """An array that is being made: empty, then with its shape and bytes."""

    def __init__(self) -> None:
        self.made: np.ndarray | None = None

    def build(self, state: object) -> None:
        match state:
            case (int(), tuple() as shape, _Type() as kind, bool() as fortran, bytes() as data):
                self.made = _filled(data, kind, shape, "F" if fortran else "C")
            case _:
                raise _RefusedError("an array in it is not as numpy writes it")


class _RefusedError(ValueError):
    """Why a file is not read."""


def read_pickle(data: bytes, name: str) -> Any:
    """What a pickle holds: an array of integers, or plain values, lists, tuples and dictionaries with such arrays.

    name: of the file, for messages. Raises CacheError for everything else, whatever it would do, and what is damaged.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in text that is none
            return _plain(_run(data), 0, {})
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise CacheError(f"{name} is not read, since nothing is unpickled: {reason}") from error


def _run(data: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for step, (instruction, argument, _) in enumerate(pickletools.genops(data)):
        if step > _MOST_STEPS:
            raise _RefusedError(f"it has more than {_MOST_STEPS} instructions")
        name = instruction.name
        if name == "STOP":
            return stack.pop()
        if name in _PLAIN:
            stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(_top(stack, _TUPLES[name]))]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _ACTIONS:
            _ACTIONS[name](stack, argument)
        elif name not in _NOTHING:
            raise _RefusedError(f"its instruction {name} is none that an array needs")
    raise _RefusedError("it ends early")


def _top(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise _RefusedError("it takes more than there is")
    return stack[-count:]


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take off what lies above the last mark, and the mark."""
    above = []
    while (value := stack.pop()) is not _MARK:
        above.append(value)
    return above[::-1]


def _global(stack: list[Any], argument: str) -> None:
    module, _, name = argument.partition(" ")
    stack.append(_Name(module, name))


def _stack_global(stack: list[Any], _: object) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(_Name(module, name))


def _reduce(stack: list[Any], _: object) -> None:
    arguments, called = stack.pop(), stack.pop()
    stack.append(_called(called, arguments))


def _called(name: object, arguments: object) -> Any:
    """What numpy's functions would return, made by hand."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise _RefusedError("it calls what is no name")
    match (name.means, *arguments):
        case ("reconstruct", _Name() as kind, _, _) if kind.means == "array":
            return _Array()
        case ("dtype", code, *_):
            return _Type(code)
        case ("encode", str() as text, "latin1"):
            return text.encode("latin1")
        case ("encode", str() as text):
            return text.encode("latin1")
        case ("scalar", _Type() as kind, bytes() as data):
            return int(_filled(data, kind, (1,), "C")[0])
        case ("from buffer", bytes() as data, _Type() as kind, tuple() as shape, ("C" | "F") as order):
            return _filled(data, kind, shape, order)
    raise _RefusedError(f"it calls {name.means} as numpy does not")


def _build(stack: list[Any], _: object) -> None:
    state, made = stack.pop(), stack[-1]
    if not isinstance(made, _Array | _Type):
        raise _RefusedError("it changes what is neither an array nor a type")
    made.build(state)


def _append(stack: list[Any], _: object) -> None:
    value = stack.pop()
    _list(stack[-1]).append(value)


def _appends(stack: list[Any], _: object) -> None:
    values = _since_mark(stack)
    _list(stack[-1]).extend(values)


def _set_item(stack: list[Any], _: object) -> None:
    value, key = stack.pop(), stack.pop()
    _dictionary(stack[-1])[_key(key)] = value


def _set_items(stack: list[Any], _: object) -> None:
    values = _since_mark(stack)
    target = _dictionary(stack[-1])
    for key, value in zip(values[::2], values[1::2], strict=True):
        target[_key(key)] = value


def _list(value: object) -> list[Any]:
    if type(value) is not list:
        raise _RefusedError("it adds to what is no list")
    return value


def _dictionary(value: object) -> dict[Any, Any]:
    if type(value) is not dict:
        raise _RefusedError("it adds to what is no dictionary")
    return value


def _key(value: object) -> str | int:
    if not isinstance(value, str | int):
        raise _RefusedError("a key in it is neither text nor a number")
    return value


def _filled(data: bytes, kind: _Type, shape: tuple[Any, ...], order: str) -> np.ndarray:
    if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 4:
        raise _RefusedError("the shape of an array in it is none")
    if math.prod(shape) * kind.made.itemsize != len(data):
        raise _RefusedError(f"an array of {list(shape)} in it has {len(data)} bytes")
    return np.frombuffer(data, kind.made).reshape(shape, order=order)  # type: ignore[call-overload]


def _plain(value: Any, depth: int, done: dict[int, Any]) -> Any:
    """The value with arrays that are made in place of those that were being made.

    done: by identity, lists and dictionaries that were gone through: a small file may have one in another a million
    times.
    """
    if isinstance(value, _Array):
        if value.made is None:
            raise _RefusedError("an array in it has no bytes")
        return value.made
    if isinstance(value, _Name | _Type) or value is _MARK:
        raise _RefusedError("it holds something else than arrays of integers")
    if not isinstance(value, dict | list | tuple):
        return value
    if depth > _DEEPEST:
        raise _RefusedError(f"it has lists or dictionaries in each other, more than {_DEEPEST} deep")
    if id(value) not in done:
        if isinstance(value, dict):
            done[id(value)] = {key: _plain(held, depth + 1, done) for key, held in value.items()}
        else:
            done[id(value)] = [_plain(held, depth + 1, done) for held in value]
    return done[id(value)]


_ACTIONS: dict[str, Callable[[list[Any], Any], None]] = {
    "MARK": lambda stack, _: stack.append(_MARK),
    "EMPTY_LIST": lambda stack, _: stack.append([]),
    "EMPTY_DICT": lambda stack, _: stack.append({}),
    "EMPTY_TUPLE": lambda stack, _: stack.append(()),
    "TUPLE": lambda stack, _: stack.append(tuple(_since_mark(stack))),
    "LIST": lambda stack, _: stack.append(_since_mark(stack)),
    "POP": lambda stack, _: stack.pop(),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
}
