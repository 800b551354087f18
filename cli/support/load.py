"""Loads the program that APP names: a script, ``file.py:attr`` or ``module:attr``."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import inspect
import io
import re
import runpy
import sys
import types
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horus_async import Scheduler
from horus_async.errors import AppError, HorusError
from horus_async.nodes.user_frames import line_of
from horus_async.scheduler.signals import Interrupted
from horus_async.spelling import did_you_mean

from .errors import USAGE, in_a_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from horus_async.scheduler.overrides import Overrides

MODULE_NAME = "__mp_main__"
"""The name of a script that is loaded without being run, as in ``multiprocessing``: its classes count as those of
``__main__``, and its ``if __name__ == "__main__"`` block is skipped."""


def run_script(app: str, args: Sequence[str], *, overrides: Overrides) -> None:
    """Run a script as ``__main__``; if no scheduler runs in it, run that of its ``build(args)`` or ``scheduler``.

    Raises:
        AppError: There is no such file, or the script raised.
    """
    path = _file(app)
    with _program(path, args, beside=path.resolve().parent), _as_main(path) as module:
        try:
            _execute(path, module)
        except HorusError:
            raise
        except Exception as error:
            raise _failed(path, error) from error
        if overrides.used:
            return
        found = _offered(module)
        if found is not None:
            _scheduler(app, found, args).run_sync()


@contextmanager
def not_ended_by(app: str) -> Iterator[None]:
    """Let no ``sys.exit()`` of a program pass for the result of the command that needs it.

    Raises:
        AppError: It ended itself; as failed, unless its exit code is that of fine or of wrong usage.
    """
    try:
        yield
    except Interrupted:
        raise
    except SystemExit as error:
        failure = AppError(
            f"{app} ended itself with sys.exit({'' if error.code is None else repr(error.code)}), so there is no "
            "result; scripts do so below if __name__ == '__main__', and nodes with request_stop()"
        )
        failure.failed = error.code not in (None, 0, USAGE)
        raise failure from error


def _execute(path: Path, module: ModuleType) -> None:
    if zipfile.is_zipfile(path):
        runpy.run_path(str(path), run_name="__main__")
        return
    with io.open_code(str(path)) as file:
        source = file.read()
    exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - that is what the user asked for


@contextmanager
def _as_main(path: Path) -> Iterator[ModuleType]:
    """A module ``__main__`` for a script, as Python makes it."""
    module = types.ModuleType("__main__")
    vars(module).update(__file__=str(path), __builtins__=builtins, __cached__=None, __package__=None)
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        yield module
    finally:
        sys.modules["__main__"] = before


def _offered(module: ModuleType) -> Any:
    """What a script offers to run."""
    found = getattr(module, "build", None)
    return getattr(module, "scheduler", None) if found is None else found


def load_scheduler(app: str, args: Sequence[str]) -> Scheduler:
    """The scheduler of a program, without running it.

    For a script, this is the result of ``build(args)`` or, if it has none, ``scheduler``.

    Raises:
        AppError: There is none, or the program failed.
    """
    where, _ = split_app(app)
    if not is_file(where):
        with _program(Path(where), args, beside=Path.cwd()):
            return _made(app, _load_module(where), args)
    path = _file(where)
    with _program(path, args, beside=path.resolve().parent):
        return _made(app, _load_file(path), args)


def _made(app: str, module: ModuleType, args: Sequence[str]) -> Scheduler:
    where, attribute = split_app(app)
    if attribute is None:
        found = _offered(module)
        if found is None:
            raise AppError(
                f"{app} has neither a function build(args) that returns a Scheduler nor a Scheduler named scheduler; "
                "add one, or name another with FILE.py:NAME"
            )
    else:
        found = getattr(module, attribute, None)
        if found is None:
            offered = [name for name, value in vars(module).items() if callable(value) or isinstance(value, Scheduler)]
            raise AppError(f"{where} has no {attribute!r}{did_you_mean(attribute, offered)}")
    return _scheduler(app, found, args)


def split_app(app: str) -> tuple[str, str | None]:
    """Split ``file.py:attr`` in two; the second part is None if there is none."""
    where, colon, attribute = app.rpartition(":")
    if not colon or not attribute.isidentifier():
        return app, None
    return where, attribute


def name_of(app: str) -> str:
    """What a scheduler is called that its program did not name: as the program, so that two have boxes of their own."""
    where = split_app(app)[0]
    path = Path(where)
    stem = path.stem if is_file(where) else where.rpartition(".")[2]
    if stem == "__main__":
        stem = path.resolve().parent.name
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:80]


def _scheduler(app: str, found: Any, args: Sequence[str]) -> Scheduler:
    if callable(found) and not isinstance(found, Scheduler):
        try:
            takes = bool(inspect.signature(found).parameters)
            found = found(list(args)) if takes else found()
        except HorusError:
            raise
        except Exception as error:
            raise _failed(Path(split_app(app)[0]), error) from error
    if not isinstance(found, Scheduler):
        raise AppError(f"{app} gives {type(found).__name__}, not a Scheduler")
    return found


def is_file(where: str) -> bool:
    """Whether the first part of APP names a file, and not a module."""
    return where.endswith(".py") or "/" in where or Path(where).is_file()


def _file(where: str) -> Path:
    path = Path(where)
    if not path.is_file():
        there = [str(file) for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise AppError(f"there is no file {where!r}{did_you_mean(str(path), there)}")
    return path


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise AppError(f"there is no module {name!r}; name a script, FILE.py:NAME or MODULE:NAME") from error
        raise _failed(Path(name), error) from error
    except HorusError:
        raise
    except Exception as error:
        raise _failed(Path(name), error) from error


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise AppError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except HorusError:
        raise
    except Exception as error:
        raise _failed(path, error) from error
    return module


@contextmanager
def _program(path: Path, args: Sequence[str], *, beside: Path) -> Iterator[None]:
    """Let a program see its own name and arguments, and the modules in a folder (nodes may import them as they run)."""
    argv, sys.argv = sys.argv, [str(path), *args]
    folder = str(beside)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.argv = argv


def _failed(path: Path, error: Exception) -> AppError:
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = f":{number}" if (number := line_of(trace)) else ""
        trace = trace.tb_next
    failure = AppError(f"{path}{line}: {in_a_line(error)}")
    failure.failed = True
    return failure
