"""Parameters on the command line and in TOML files."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    F = Callable[..., Any]


def param_options(command: F) -> F:
    """Add ``--param`` and ``--params`` to a command."""
    command = click.option(
        "--params",
        "params_file",
        type=click.Path(exists=True, dir_okay=False, path_type=_path()),
        metavar="FILE",
        help="Set parameters of nodes as a TOML file says: a table for each node.",
    )(command)
    return click.option(
        "--param",
        "params",
        multiple=True,
        metavar="NODE.NAME=VALUE",
        help="Set a parameter of a node. Repeatable.",
    )(command)


def _path() -> type[Path]:
    from pathlib import Path

    return Path


def given_params(params: Iterable[str], file: Path | None) -> dict[str, Any]:
    """By ``node.parameter``, what the two options say; what is given by itself comes before the file.

    Raises:
        click.BadParameter: It cannot be read.
    """
    values = {} if file is None else read_params(file)
    for text in params:
        name, value = parse_param(text)
        values[name] = value
    return values


def parse_param(text: str) -> tuple[str, Any]:
    """``arm.gain=0.5``: the name and the value.

    Raises:
        click.BadParameter: It has no ``=``.
    """
    name, found, value = text.partition("=")
    if not found or not name:
        raise click.BadParameter(f"{text!r} sets nothing: write --param arm.gain=0.5", param_hint="--param")
    return name, as_value(value)


def as_value(text: str) -> Any:
    """JSON as a value; what is none is a text."""
    try:
        orjson.loads(text)  # the stricter one, which makes floats of integers beyond 64 bits
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_params(file: Path) -> dict[str, Any]:
    """By ``node.parameter``, the values in a TOML file.

    Raises:
        click.BadParameter: It is none, or has something that no parameter can be.
    """
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--params") from None
    values: dict[str, Any] = {}
    for name, value in found.items():
        if not isinstance(value, dict):
            values[name] = value
            continue
        for inner, one in value.items():
            if isinstance(one, dict):
                raise click.BadParameter(
                    f'{file}: [{name}.{inner}] is a table in a table: write ["{name}.{inner}"] for a node of that name',
                    param_hint="--params",
                )
            values[f"{name}.{inner}"] = one
    return values


def as_toml(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """A TOML file that `read_params` reads: by node, the values of its parameters."""
    tables = []
    for node, params in nodes.items():
        rows = "".join(f"{_key(name)} = {_toml(value)}\n" for name, value in params.items())
        tables.append(f"[{_key(node)}]\n{rows}")
    return "\n".join(tables)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value == int(value) and abs(value) < 1e16:
        return f"{value:.1f}"
    return json.dumps(value)
