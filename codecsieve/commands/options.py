"""The options of the command line, made of the dataclasses that declare them: name, type, help, default.

An option that is not given is None, and its default is left to the dataclass.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from codecsieve.errors import ConfigError
from codecsieve.options import declared, in_units, kind_of, kind_of_one
from codecsieve.text import quoted

TYPES = {"int": int, "float": float, "str": str, "size": str}


def options_of(
    config: type,
    names: Iterable[str] = (),
    said: str = "{help}  [default: {default}]",
    defaults: Mapping[str, Any] | None = None,
    **metavars: str,
) -> Callable[[Any], Any]:
    """A decorator that gives a command the options that a dataclass declares.

    Args:
        config: the dataclass.
        names: of its fields, in this order; all of them where there are none.
        said: the help, of what the field says (`lower`: as the rest of a sentence) and its default.
        defaults: of fields that the command has another default for.
        metavars: what stands for the value of an option whose rule does not list its values, by field.
    """
    fields = {field.name: field for field in declared(config)}
    usual = {name: field.default for name, field in fields.items()} | dict(defaults or {})
    options = [_option(fields[name], said, usual[name], metavars.get(name)) for name in names or fields]
    return lambda command: functools.reduce(lambda given, option: option(given), reversed(options), command)


def _option(field: dataclasses.Field[Any], said: str, usual: Any, metavar: str | None) -> Callable[[Any], Any]:
    about, kind = field.metadata, kind_of(field)
    name = about["flag"] or f"--{field.name.replace('_', '-')}"
    default = about["new"] or _shown(usual, kind)
    help = said.format(help=about["help"], lower=about["help"][0].lower() + about["help"][1:], default=default)
    if kind == "bool" and about["both"]:
        return click.option(f"{name}/--no-{name.removeprefix('--')}", field.name, default=None, help=help)
    if kind == "bool":
        return click.option(name, field.name, is_flag=True, default=None, help=about["help"])
    if kind_of_one(kind) == "str" and kind != "str":
        metavar = "|".join(about["rule"].choices)
        return click.option(name, field.name, multiple=True, callback=_words, metavar=metavar, help=about["help"])
    if kind.startswith("tuple"):
        parse = _numbers(float if "float" in kind else int)
        return click.option(name, field.name, cls=Numbers, callback=parse, metavar=metavar, help=help)
    metavar = metavar or "|".join(about["rule"].choices) or None
    return click.option(*name.split(), field.name, type=TYPES[kind], metavar=metavar, help=help)


def _shown(default: Any, kind: str = "") -> str:
    if kind == "size":
        return in_units(default)
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(map(_shown, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _numbers(kind: type[float] | type[int]) -> Any:
    """What turns `1e-4,3e-4`, or with spaces between, into numbers."""

    def parse(_: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        if text is None:
            return None
        try:
            return tuple(kind(part) for part in text.replace(",", " ").split())
        except ValueError:
            raise click.BadParameter(f"{quoted(text)} must be numbers with commas between", param=parameter) from None

    return parse


def _words(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    """An option that may be given again, None where it is not given."""
    return tuple(dict.fromkeys(given)) or None


class Numbers(click.Option):
    """An option of several numbers in one text."""


class Words(click.Option):
    """An option, given as `multiple`, whose values are one word each."""


class SpacedNumbers(click.Command):
    """A command whose options of several numbers, or words, may have them one after the other: `--seeds 0 1 2`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make one text of such words, or give each its option, before click sees them."""
        flags, of_words = (
            {flag for option in self.params if isinstance(option, kind) for flag in option.opts}
            for kind in (Numbers, Words)
        )
        normalise = ctx.token_normalize_func or str
        words: list[str] = []
        taking, again, bare = False, "", False
        for word in args:
            if word.startswith("--"):
                flag = normalise(word.partition("=")[0])
                taking, again, bare = flag in flags, flag if flag in of_words else "", "=" not in word
                # Of `--seeds 0` the value is still to come: it is given as `--seeds=0`, so that words can be added.
                words.append(f"{word}=" if taking and "=" not in word else word)
            elif taking:
                words[-1] += f" {word}"
            else:
                words.append(f"{again}={word}" if again and not bare else word)
                bare = False
        return super().parse_args(ctx, words)


def refuse(given: dict[str, Any], unless: str) -> None:
    """Raise ConfigError where options were given, by their fields, that mean something with another one only."""
    if given:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is for {unless}")


def take(options: dict[str, Any], config: type) -> dict[str, Any]:
    """Take those out of `options` that a dataclass declares, and leave out what was not given."""
    names = [field.name for field in declared(config) if field.name in options]
    return {name: value for name in names if (value := options.pop(name)) is not None}
