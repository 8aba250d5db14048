"""What an option is: its default, its help and its rule, said once, where it is declared.

A frozen dataclass declares its options with `option` and checks them all with `check_options`; the command line makes
its own options of the same fields (`commands.options`). What an option does is left to whoever reads it.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from codecsieve.errors import ConfigError, OptionError
from codecsieve.text import quoted, shortened

_UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which values an option may have, beyond being of its type; of several values, each."""

    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        """As it stands behind `must be`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.at_least is not None and self.at_most is not None:
            return f"in {self.at_least:g}..{self.at_most:g}"
        bounds = ((">=", self.at_least), (">", self.above), ("<=", self.at_most))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    def broken_by(self, value: Any) -> bool:
        """Whether a value of the right type does not keep to it."""
        return bool(
            (self.choices and value not in self.choices)
            or (self.at_least is not None and not value >= self.at_least)
            or (self.above is not None and not value > self.above)
            or (self.at_most is not None and not value <= self.at_most)
        )


def option(
    default: Any,
    help: str,
    *,
    flag: str = "",
    new: str = "",
    both: bool = False,
    size: bool = False,
    added: bool = False,
    **rule: Any,
) -> Any:
    """A field of a dataclass of options.

    Args:
        default: where the option is not given.
        help: what it is, for the command line and for readers.
        flag: its name on the command line, where that is another, as the published commands have it.
        new: what stands for None in the help, where that is the default.
        both: of a bool: the command line can turn it off, too.
        size: of an int: it is a number of bytes, and may be given as text such as "4 GB".
        added: what was written down before there was this option stands for its default.
        rule: fields of `Rule`.
    """
    told = {"help": help, "flag": flag, "new": new, "both": both, "size": size, "added": added, "rule": Rule(**rule)}
    return dataclasses.field(default=default, metadata=told)


def check_options(options: Any) -> None:
    """Check every option of a dataclass against its type and its rule, and make numbers plain ones.

    Raises ConfigError for the first that does not hold: one line with its value and the rule.
    """
    for field in declared(type(options)):
        value = getattr(options, field.name)
        if value is None and field.default is None:
            continue
        kind, rule = kind_of(field), field.metadata["rule"]
        if kind.startswith("tuple"):
            value = (value,) if isinstance(value, str) else value
            if (not value and field.default) or len(set(value)) < len(value):
                raise ConfigError(f"{field.name} ({', '.join(map(str, value))}) must be one or more, each named once")
            plain: Any = tuple(_plain(field.name, kind_of_one(kind), rule, one) for one in value)
        else:
            plain = _plain(field.name, kind, rule, value)
        object.__setattr__(options, field.name, plain)


def check_names(function: Callable[..., Any] | str, given: Iterable[str], *options: type) -> None:
    """Raise OptionError for the first name that is no field of these dataclasses, with the name that is nearest.

    function: whose options they are; what it takes beside them is near, too. Or what has them, in words.
    """
    said, known = (function, []) if isinstance(function, str) else (f"{function.__name__}()", _taken_by(function))
    known += [field.name for one in options for field in dataclasses.fields(one)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1)
            advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise OptionError(f"{said} has no option {shortened(name)}; {advice}")


def _taken_by(function: Callable[..., Any]) -> list[str]:
    """The function's own arguments that can be given by name."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def declared(options: type) -> Sequence[dataclasses.Field[Any]]:
    """The fields of a dataclass that are options, in their order."""
    return [field for field in dataclasses.fields(options) if "rule" in field.metadata]


def kind_of(field: dataclasses.Field[Any]) -> str:
    """The type of an option: int, float, str, bool, size, or tuple[int, ...], tuple[float, ...], tuple[str, ...]."""
    return "size" if field.metadata["size"] else str(field.type).removesuffix(" | None")


def kind_of_one(kind: str) -> str:
    """Of an option of several values, the type of one: int, float or str."""
    return kind.removeprefix("tuple[").partition(",")[0]


def _plain(name: str, kind: str, rule: Rule, value: Any) -> Any:
    """A value that keeps to type and rule; numpy's integers become plain ones, as JSON wants them."""
    if kind == "int":
        try:
            if isinstance(value, bool):  # which JSON's true would be, and Python counts as 1
                raise TypeError
            value = operator.index(value)
        except TypeError:
            raise ConfigError(f"{name} ({quoted(value)}) must be a whole number") from None
    elif kind == "bool":
        if not isinstance(value, bool):
            raise ConfigError(f"{name} ({quoted(value)}) must be true or false")
    elif kind == "float":
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{name} ({quoted(value)}) must be a number{f' {rule}' if str(rule) else ''}")
    elif kind == "size":
        size = _bytes(value)
        if size is None or rule.broken_by(size):
            least = "" if rule.at_least is None else f" >= {in_units(rule.at_least)}"
            raise ConfigError(f"{name} ({quoted(value)}) must be a size{least}, such as 500 MB or 4 GB")
        return size
    elif kind == "str" and not isinstance(value, str):
        raise ConfigError(f"{name} ({quoted(value)}) must be {rule if str(rule) else 'text'}")
    if rule.broken_by(value):
        raise ConfigError(f"{name} ({quoted(value)}) must be {rule}")
    return value


def _bytes(value: Any) -> int | None:
    """A size in bytes, given as such or as text; None where it is neither."""
    if isinstance(value, str):
        read = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B)?", value.strip(), re.IGNORECASE | re.ASCII)
        return round(float(read[1]) * 1000 ** _UNITS.index((read[2] or "B").upper())) if read else None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def bytes_of(name: str, size: int | str) -> int:
    """A size that is no dataclass's field, such as "50 GB", in bytes. Raises ConfigError where it is none."""
    return int(_plain(name, "size", Rule(at_least=0), size))


def in_units(size: float) -> str:
    """A number of bytes for people: `1.2 MB`."""
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
