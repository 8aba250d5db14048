"""The command `serve`: the pipeline over HTTP, and `serve keys`: who may ask."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import click

from codecsieve.commands.options import options_of, refuse, take
from codecsieve.errors import ConfigError
from codecsieve.pipelines.serve.limits import Limits
from codecsieve.pipelines.serve.ray_options import RayOptions

_NOTES = """
A service without keys answers this machine only. Its log, on standard error, is a line of JSON an event; the page is at
/, the API's description at /openapi.json. SIGTERM ends it once what it is at is done; jobs go on with the next start.

\b
Example:
  codecsieve serve --root videos=/data/videos --root caches=/data/caches --model FOLDER_OR_HUB_ID
  codecsieve serve keys add annotator --role sieve --role read
  curl -T clip.mp4 -H 'Content-Type: video/mp4' 'localhost:8000/v1/sieve?k_keep=1024' -o tokens.arrow -X POST
"""

DATA = click.option("--data", metavar="FOLDER", help="For uploads, jobs and keys.  [default: the user's data folder]")

_MODULES = ("fastapi", "httpx", "prometheus_client", "python_multipart", "safetensors", "uvicorn", "websockets")
"""What a service cannot be without, of the extra's packages."""


@click.group(epilog=_NOTES, invoke_without_command=True)
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="NAME=FOLDER",
    help="A folder with videos or caches; without NAME=, by its own name.",
)
@click.option("--model", metavar="FOLDER_OR_HUB_ID", help="An encoder, for /v1/embed.")
@DATA
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to answer at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--fetch-host", "fetch_hosts", multiple=True, metavar="HOST", help="A host that URLs may name.")
@click.option("--insecure", is_flag=True, help="Let anybody ask who reaches it, without a key.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="What it runs on: this process and its workers, or Ray Serve.")  # fmt: skip
@options_of(Limits)
@options_of(RayOptions)
@click.pass_context
def serve(
    context: click.Context,
    roots: Sequence[str],
    model: str | None,
    data: str | None,
    host: str,
    port: int,
    fetch_hosts: Sequence[str],
    insecure: bool,
    engine: str,
    **options: Any,
) -> None:
    """Serve the pipeline over HTTP: videos in, tokens, embeddings and pictures out, jobs, and a page to look at it."""
    context.obj = data
    if context.invoked_subcommand is not None:
        return
    _check_installed(model is not None)
    from codecsieve.pipelines.serve.access import is_loopback
    from codecsieve.pipelines.serve.roots import Roots
    from codecsieve.pipelines.serve.server import run
    from codecsieve.pipelines.serve.service import Settings

    settings = Settings(
        roots=Roots.parse(roots),
        data=_folder(data),
        model=model,
        limits=Limits(**take(options, Limits)),
        fetch_hosts=tuple(fetch_hosts),
        insecure=insecure,
        local_only=is_loopback(host),
    )
    asked = take(options, RayOptions)
    if engine == "ray":
        from codecsieve.pipelines.serve.ray_server import run as run_under_ray

        run_under_ray(settings, host, port, RayOptions(**asked))
        return
    refuse(asked, "--engine ray")
    run(settings, host, port)


@serve.group()
def keys() -> None:
    """Say who may ask: a name, a secret that is told once, and roles."""


@keys.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, metavar="read|sieve|jobs", help="What it may do; all, if not said.")
@click.pass_obj
def add(data: str | None, name: str, roles: Sequence[str]) -> None:
    """Make a key, and print its secret, which is kept nowhere."""
    from codecsieve.commands.console import say
    from codecsieve.pipelines.serve.keys import ROLES, Keys

    say(Keys(_folder(data)).add(name, roles or ROLES))


@keys.command("list")
@click.pass_obj
def list_keys(data: str | None) -> None:
    """List the keys: name, roles, when it was made."""
    import time

    from codecsieve.commands.console import print_rows
    from codecsieve.pipelines.serve.keys import Keys

    rows = [
        [key.name, ", ".join(key.roles), time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created))]
        for key in Keys(_folder(data)).all()
    ]
    print_rows("Keys", ["name", "roles", "made"], rows)


@keys.command()
@click.argument("name")
@click.pass_obj
def remove(data: str | None, name: str) -> None:
    """Take a key away; a running service no longer takes it."""
    from codecsieve.pipelines.serve.keys import Keys

    Keys(_folder(data)).remove(name)


def _folder(data: str | None) -> Any:
    from pathlib import Path

    if data is not None:
        return Path(data)
    try:
        import platformdirs
    except ModuleNotFoundError:
        raise ConfigError(
            "data must be given where platformdirs is not installed; pip install 'codecsieve[service]'"
        ) from None
    return Path(platformdirs.user_data_dir("codecsieve")) / "service"


def _check_installed(with_model: bool) -> None:
    needed = {"service": _MODULES, "encoder": ("torch",) if with_model else ()}
    for extra, modules in needed.items():
        missing = next((name for name in modules if importlib.util.find_spec(name) is None), None)
        if missing is not None:
            what = "serve --model" if extra == "encoder" else "serve"
            raise ConfigError(f"{what} needs {missing}, which is not installed; pip install 'codecsieve[{extra}]'")
