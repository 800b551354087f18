"""Reads launch files. Every error is named with its place, not only the first."""

from __future__ import annotations

import re
import tomllib
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any

from cattrs import Converter, transform_error
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from horus_async.errors import HorusError, LaunchError
from horus_async.folders import NoHomeError, expanded
from horus_async.spelling import did_you_mean
from horus_async.topics.ring.names import check_namespace, check_topic_name

from .order import circles
from .schema import DEFAULTS, LaunchFile, Program, Restart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROGRAM_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a program may be called: it becomes the name of files."""

_LARGEST = 1 << 20
_OURS = ("--record", "--recordings-dir", "--param", "--params")
"""Options of ``run`` that launch itself gives."""
_ANY_APP = "module:name"
"""Stands in for an app that is missing or wrong, while the rest of its program is looked at."""
_TOP = ("programs", "defaults")
_KEYS = tuple(attribute.name for attribute in Program.__attrs_attrs__)


def read_launch_file(path: Path) -> LaunchFile:
    """What a launch file says.

    Raises:
        LaunchError: It cannot be read, or something in it is wrong; ``problems`` names all of that.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise LaunchError.of(path, [f"it is larger than {_LARGEST} bytes"])
        fields = tomllib.loads(data.decode())
    except OSError as error:
        raise LaunchError.of(path, [f"cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LaunchError.of(path, [f"is not UTF-8: byte {data[error.start]:#04x} in line {line}"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LaunchError.of(path, [f"is not TOML: {error}"]) from None
    problems: list[str] = []
    programs = _programs(fields, problems)
    found = LaunchFile(path=path.resolve(), programs=programs)
    for name, program in programs.items():
        problems += [f"programs.{name}: {problem}" for problem in _wrong(found, name, program, fields)]
    problems += [f"programs wait for each other: {' -> '.join(circle)}" for circle in circles(found)]
    if problems:
        raise LaunchError.of(path, problems)
    return found


def _programs(fields: Mapping[str, Any], problems: list[str]) -> dict[str, Program]:
    problems += [f"there is no key {key!r}{did_you_mean(key, _TOP)}" for key in fields if key not in _TOP]
    defaults, tables = fields.get("defaults", {}), fields.get("programs", {})
    if not isinstance(defaults, dict):
        problems.append("defaults is no table: write [defaults]")
        defaults = {}
    for key in defaults:
        if key not in DEFAULTS:
            known = "belongs to one program" if key in _KEYS else "is no key"
            problems.append(
                f"defaults: {key!r} {known}{did_you_mean(key, DEFAULTS)}; allowed are {', '.join(DEFAULTS)}"
            )
    if not isinstance(tables, dict) or not tables:
        problems.append('there are no programs: write a table [programs.NAME] with app = "FILE.py" for each')
        return {}
    given = {key: value for key, value in defaults.items() if key in DEFAULTS}
    given = _right("defaults", given, problems)
    found = {}
    for name, table in tables.items():
        if PROGRAM_NAME.fullmatch(name) is None:
            problems.append(f"program name {name[:80]!a} cannot be used: it takes 1 to 64 of A-Z a-z 0-9 _ -")
            continue
        if not isinstance(table, dict):
            problems.append(f"programs.{name} is no table: write [programs.{name}]")
            continue
        found[name] = _program(name, table, given, problems)
    return found


def _with_defaults(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the program stand for themselves; its environment is put on top of that of all."""
    both = {**defaults, **table}
    of_all, own = defaults.get("env"), table.get("env")
    if isinstance(of_all, dict) and isinstance(own, dict):
        both["env"] = {**of_all, **own}
    return both


def _program(name: str, table: dict[str, Any], defaults: Mapping[str, Any], problems: list[str]) -> Program:
    """The program, without the keys that are wrong: so what else is wrong with it is named, too."""
    params = table.get("params")
    if isinstance(params, dict):
        flat: dict[str, Any] = {}
        problems += [f"programs.{name}.params: {problem}" for problem in _flatten(params, "", flat)]
        table = {**table, "params": flat}
    if "app" not in table:
        problems.append(f'programs.{name}.app: is missing: give the program, app = "FILE.py"')
    right = _right(f"programs.{name}", table, problems)
    return _CONVERTER.structure({"app": _ANY_APP, **_with_defaults(right, defaults)}, Program)


def _right(place: str, table: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The keys of a table whose values are such as a program has; what is wrong with others is a problem."""
    right = {}
    for key, value in table.items():
        try:
            _CONVERTER.structure({"app": _ANY_APP, key: value}, Program)
        except (ClassValidationError, IterableValidationError) as error:
            for text in transform_error(error, path=place, format_exception=_said):
                said, _, where = text.rpartition(" @ ")
                problems.append(f"{where}: {said}")
        else:
            right[key] = value
    return right


def _flatten(table: Mapping[str, Any], before: str, flat: dict[str, Any]) -> Iterator[str]:
    """Join nested tables with dots; gives what JSON does not have."""
    for key, value in table.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}.", flat)
        elif not _is_json(value):
            yield f"{name!r} is {type(value).__name__}: give a number, a text, true, false, or a list of these"
        elif "=" in name or not name.strip():
            yield f"{name!r} is no name of a parameter: write NODE.PARAMETER"
        else:
            flat[name] = value


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")  # noqa: PLR0124 - NaN is not
    return isinstance(value, str | int | bool)


def _said(error: BaseException, _: type | None) -> str:
    """The text of one error of a table's structure."""
    if isinstance(error, ForbiddenExtraKeysError):
        unknown = sorted(error.extra_fields)
        return "; ".join(f"there is no key {key!r}{did_you_mean(key, _KEYS)}" for key in unknown)
    return str(error)


def _wrong(file: LaunchFile, name: str, program: Program, fields: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong beyond the types of values."""
    yield from _wrong_app(file, program.app)
    if program.namespace is not None:
        yield from _refused(check_namespace, program.namespace)
    for topic in program.after_topics:
        yield from _refused(check_topic_name, topic)
    for other in program.after:
        if other == name:
            yield "after: it waits for itself"
        elif other not in fields["programs"]:
            known = [key for key in fields["programs"] if key != name]
            yield f"after: there is no program {other!r}{did_you_mean(other, known)}"
    yield from _wrong_words(program)


def _wrong_words(program: Program) -> Iterator[str]:
    """What cannot stand on a command line, or in an environment."""
    for option in program.options:
        if option.partition("=")[0] in _OURS:
            yield f"options: {option!r} is for launch to give (launch --record NAME; params of the program)"
        elif option == "--" or (option[:1] != "-" and option == program.options[0]):
            yield f"options: {option!r} is no option of run; what the program itself gets is args"
    for key, value in program.env.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            yield f"env: {key!r} cannot be an environment variable"
    for text in (program.app, *program.args, *program.options, *map(str, program.params.values()), *program.params):
        if "\0" in text:
            yield f"{text!r} has a NUL in it, which no argument can have"


def _refused(check: Any, value: str) -> Iterator[str]:
    try:
        check(value)
    except HorusError as error:
        yield str(error)


def _wrong_app(file: LaunchFile, app: str) -> Iterator[str]:
    where, is_file = split(app)
    if not where or where.startswith("-"):
        yield f"app = {app!r}: give FILE.py, FILE.py:NAME or MODULE:NAME"
    elif is_file:
        try:
            there = (file.folder / expanded(where)).is_file()
        except (OSError, ValueError, NoHomeError) as error:
            yield f"app = {app!r}: {error}"
            return
        if not there:
            beside = [entry.name for entry in file.folder.glob("*.py")]
            yield f"app: there is no file {where!r} in {file.folder}{did_you_mean(where, beside)}"
    elif not all(part.isidentifier() for part in where.split(".")):
        yield f"app = {app!r}: give FILE.py, FILE.py:NAME or MODULE:NAME"


def split(app: str) -> tuple[str, bool]:
    """The file or module of APP, and whether it is a file."""
    where, colon, attribute = app.rpartition(":")
    if not colon or not attribute.isidentifier():
        return app, True
    return where, where.endswith(".py") or "/" in where


# -- structure ---------------------------------------------------------------------------------------------------------


def _strict(kind: type, name: str, *others: type) -> Any:
    """A hook that takes values of a type as they are and makes nothing of others."""

    def structure(value: Any, _: Any) -> Any:
        wrong_bool = isinstance(value, bool) and kind is not bool
        if wrong_bool or not isinstance(value, (kind, *others)):
            raise TypeError(f"{value!r:.80} is not {name}")
        return kind(value)

    return structure


def _texts(value: Any, _: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f'{value!r:.80} is not a list of texts: write ["…", "…"]')
    return tuple(value)


def _environment(value: Any, _: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is not a table")
    for key, text in value.items():
        if not isinstance(text, str):
            raise TypeError(f"{key} = {text!r:.80} is not a text: write it in quotes")
    return value


def _params(value: Any, _: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is not a table")
    return value


def _restart(value: Any, _: Any) -> Restart:
    known = [one.value for one in Restart]
    if value not in known:
        meant = did_you_mean(value, known) if isinstance(value, str) else ""
        raise ValueError(f"{value!r:.80} is none of {', '.join(known)}{meant}")
    return Restart(value)


def _converter() -> Converter:
    made = Converter(forbid_extra_keys=True)
    made.register_structure_hook(str, _strict(str, "a text"))
    made.register_structure_hook(int, _strict(int, "a whole number"))
    made.register_structure_hook(float, _strict(float, "a number", int))
    made.register_structure_hook(bool, _strict(bool, "true or false"))
    made.register_structure_hook(Restart, _restart)
    others = ((str | None, _strict(str, "a text")), (tuple[str, ...], _texts), (dict[str, str], _environment))
    for kind, hook in (*others, (dict[str, Any], _params)):
        made.register_structure_hook_func(partial(eq, kind), hook)
    made.register_structure_hook(Program, make_dict_structure_fn(Program, made, _cattrs_forbid_extra_keys=True))
    return made


_CONVERTER = _converter()
