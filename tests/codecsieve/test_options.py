"""An option is declared once: type, default, help and rule hold for the dataclass and for the command line."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import click
import numpy as np
import pytest
from click.testing import CliRunner

import codecsieve as cs
from codecsieve.cli import main
from codecsieve.commands.options import options_of, take
from codecsieve.errors import ConfigError
from codecsieve.options import check_options, declared, in_units, option
from codecsieve.pipelines.config import RunOptions, SieveConfig
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.probe.config import ProbeConfig
from codecsieve.pipelines.transcode.config import TranscodeOptions

COMMANDS = {"precompute": (SieveConfig, RunOptions), "probe": (ProbeConfig,), "transcode": (TranscodeOptions,)}


@dataclass(frozen=True)
class Tea:
    """Options of every kind."""

    sort: str = option("green", "What is brewed.", choices=("green", "black"))
    minutes: float = option(3.0, "For how long.", above=0)
    cups: int | None = option(None, "How many.", new="one a guest", at_least=1, at_most=9)
    milk: bool = option(False, "With milk.", both=True)
    iced: bool = option(False, "With ice.")
    water: int = option(10**9, "How much, in bytes.", size=True, at_least=1000)
    spoons: tuple[int, ...] = option((1, 2), "Sugar, tried one after the other.", flag="--sugar", at_least=0)
    beside: tuple[str, ...] = option((), "What comes with it.", choices=("cake", "toast"))

    def __post_init__(self) -> None:
        check_options(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sort": "red"}, r"sort \('red'\) must be one of green, black"),
        ({"sort": 1}, r"sort \(1\) must be one of green, black"),
        ({"minutes": 0}, r"minutes \(0\) must be > 0"),
        ({"minutes": float("nan")}, r"minutes \(nan\) must be a number > 0"),
        ({"minutes": "3"}, r"minutes \('3'\) must be a number > 0"),
        ({"minutes": True}, r"minutes \(True\) must be a number > 0"),
        ({"cups": 10}, r"cups \(10\) must be in 1\.\.9"),
        ({"cups": 1.5}, r"cups \(1.5\) must be a whole number"),
        ({"cups": True}, r"cups \(True\) must be a whole number"),
        ({"milk": 1}, r"milk \(1\) must be true or false"),
        ({"milk": "no"}, r"milk \('no'\) must be true or false"),
        ({"spoons": (1, False)}, r"spoons \(False\) must be a whole number"),
        ({"water": "1 B"}, r"water \('1 B'\) must be a size >= 1 KB, such as 500 MB or 4 GB"),
        ({"water": "much"}, r"water \('much'\) must be a size >= 1 KB, such as 500 MB or 4 GB"),
        ({"water": 1e9}, r"water \(1000000000.0\) must be a size >= 1 KB, such as 500 MB or 4 GB"),
        ({"spoons": ()}, r"spoons \(\) must be one or more, each named once"),
        ({"spoons": (1, 1)}, r"spoons \(1, 1\) must be one or more, each named once"),
        ({"beside": ("cake", "cake")}, r"beside \(cake, cake\) must be one or more, each named once"),
        ({"beside": "cakes"}, r"beside \('cakes'\) must be one of cake, toast"),
        ({"spoons": (1, -1)}, r"spoons \(-1\) must be >= 0"),
    ],
)
def test_a_value_that_breaks_its_rule_is_told_with_it(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Tea(**values)  # type: ignore[arg-type]


def test_numbers_become_plain_ones() -> None:
    tea = Tea(cups=np.int64(3), spoons=(np.int32(4),))  # type: ignore[arg-type]
    assert (type(tea.cups), type(tea.spoons[0])) == (int, int)
    assert Tea().cups is None


@click.command()
@options_of(Tea)
def brew(**options: object) -> None:
    """What was given, and what comes of it."""
    given = take(options, Tea)
    assert not options
    click.echo(f"{given} {Tea(**given)}")


def test_the_command_line_gives_what_was_given_and_leaves_the_rest() -> None:
    run = CliRunner().invoke
    assert run(brew, []).stdout.startswith(f"{{}} {Tea()}")
    given = [
        "--sort",
        "black",
        "--minutes",
        "2",
        "--cups",
        "4",
        "--milk",
        "--iced",
        "--water",
        "5 KB",
        "--sugar",
        "3,5",
    ]
    assert str(Tea("black", 2.0, 4, True, True, 5000, (3, 5))) in run(brew, given).stdout
    assert run(brew, ["--no-milk"]).stdout.startswith("{'milk': False}")
    assert "must be numbers with commas between" in run(brew, ["--sugar", "a"]).stderr


def test_the_help_says_what_the_option_does_and_its_default() -> None:
    said = " ".join(CliRunner().invoke(brew, ["--help"]).stdout.split())
    for expected in (
        "--sort green|black What is brewed. [default: green]",
        "--minutes FLOAT For how long. [default: 3]",
        "--cups INTEGER How many. [default: one a guest]",
        "--milk / --no-milk With milk. [default: no]",
        "--iced With ice.",
        "--water TEXT How much, in bytes. [default: 1 GB]",
        "--sugar TEXT Sugar, tried one after the other. [default: 1,2]",
    ):
        assert expected in said


@pytest.mark.parametrize(("command", "config"), [(name, config) for name, all in COMMANDS.items() for config in all])
def test_a_command_has_every_option_of_its_configuration(command: str, config: type) -> None:
    context = click.Context(main.commands[command])
    options = {parameter.name: parameter for parameter in main.commands[command].params}
    for field in declared(config):
        assert field.default is None or options[field.name].get_default(context) != field.default  # left to the class
        assert field.metadata["help"] in str(options[field.name].help)  # type: ignore[attr-defined]


def test_functions_have_the_defaults_of_the_configuration() -> None:
    of_config = {field.name: field.default for field in declared(SieveConfig)}
    renamed = {"size": "input_size", "patch": "patch_size"}
    for function in (cs.score_patches, cs.select_patches, cs.read_clip):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default not in (inspect.Parameter.empty, None):
                assert parameter.default == of_config[renamed.get(name, name)], f"{name} of {function.__name__}"
    of_run = inspect.signature(precompute).parameters
    assert {field.name: field.default for field in declared(RunOptions)}.items() <= {
        name: parameter.default for name, parameter in of_run.items()
    }.items()


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (5000, 5000),
        ("5000", 5000),
        ("5000 B", 5000),
        ("512MB", 512_000_000),
        ("1.5 gb", 1_500_000_000),
        ("2TB", 2 * 10**12),
    ],
)
def test_a_size_is_a_number_of_bytes_or_text(given: int | str, size: int) -> None:
    assert Tea(water=given).water == size  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1_234_567, "1.23 MB"), (7e15, "7000.0 TB")])
def test_sizes_are_told_in_units_for_people(size: float, text: str) -> None:
    assert in_units(size) == text
