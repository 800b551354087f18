"""How this package was installed and started: commands for hints that work where the hint is read.

It need not come from an index: most have it from a checkout, by ``pip install .``, ``uvx --from .`` or in place, and
its command is not on everybody's PATH.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_NAME = "horus-async"
_PACKAGE = Path(__file__).parent.parent
_UVX = ("archive-v", "environments-v")
"""How the folders are called in which uv keeps environments that nobody can see."""


def command(line: str) -> str:
    """A command line of ours, as ``record list``, with what starts it here before it."""
    return f"{_program()} {line}"


def install(extra: str) -> str:
    """The command that installs an extra of this package, or if it is empty the package; with `uvx` what has it."""
    if _is_uvx():
        return f"uvx --from {shlex.quote(_requirement(extra))} {_NAME}"
    if find_spec("pip") is None:
        pip = f"uv pip install --python {shlex.quote(_shown(Path(sys.executable)))}"
    else:
        pip = "pip install" if _is_on_path("pip") else f"{_python()} -m pip install"
    if _is_checkout(_PACKAGE.parent):
        return f"{pip} -e {shlex.quote(_requirement(extra))}"
    source = _source()
    if source.get("dir_info") is not None and not _is_checkout(_folder(source)):  # the checkout is gone
        return f"{pip} {' '.join(map(shlex.quote, _needed(extra)))}"
    return f"{pip} {shlex.quote(_requirement(extra))}"


def _requirement(extra: str) -> str:
    """What pip installs again, with an extra; without if it is empty."""
    brackets = f"[{extra}]" if extra else ""
    source = _source()
    for folder in (_PACKAGE.parent, _folder(source) if "dir_info" in source else None):
        if folder is not None and _is_checkout(folder):
            shown = _shown(folder)
            return f"{shown if shown == '.' or Path(shown).is_absolute() else f'./{shown}'}{brackets}"
    url = source.get("url")
    if not url or "dir_info" in source:
        return f"{_NAME}{brackets}"
    vcs = source.get("vcs_info", {})
    return f"{_NAME}{brackets} @ {vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else f"{_NAME}{brackets} @ {url}"


def _program() -> str:
    if _is_uvx():
        return f"uvx --from {shlex.quote(_requirement(''))} {_NAME}"
    started = Path(sys.argv[0])
    if _is_on_path(_NAME) or _is_same(shutil.which(_NAME), started):
        return _NAME
    if started.name == _NAME:
        return shlex.quote(str(started))
    beside = Path(sys.executable).with_name(_NAME)
    return shlex.quote(_shown(beside)) if beside.exists() else f"{_python()} -m horus_async"


def _python() -> str:
    own = Path(sys.executable)
    return own.name if _is_on_path(own.name) else shlex.quote(_shown(own))


def _is_on_path(name: str) -> bool:
    """Whether the shell finds what lies beside this interpreter under that name."""
    found = shutil.which(name)
    return found is not None and Path(found) == Path(sys.executable).with_name(name)


def _is_same(found: str | None, started: Path) -> bool:
    try:
        return found is not None and started.name == _NAME and started.samefile(found)
    except OSError:
        return False


def _is_uvx() -> bool:
    return "UV" in os.environ and Path(sys.prefix).parent.name.startswith(_UVX)


def _is_checkout(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file() and (folder / _PACKAGE.name).is_dir()


def _source() -> dict[str, Any]:
    """Where the installed package came from, as PEP 610 says; empty if from an index, or not installed."""
    found = _distribution()
    try:
        text = None if found is None else found.read_text("direct_url.json")
        source = json.loads(text or "{}")
    except (OSError, ValueError):
        return {}
    return source if isinstance(source, dict) else {}


def _folder(source: dict[str, Any]) -> Path:
    return Path(unquote(urlsplit(source.get("url", "")).path))


def _needed(extra: str) -> list[str]:
    """The packages of an extra, as pip takes them; if it is empty, those that are always needed."""
    found = _distribution()
    parted = [text.partition(";") for text in ([] if found is None else found.requires or [])]
    wanted = f'extra == "{extra}"' if extra else ""
    return [name.strip() for name, _, when in parted if when.strip().replace("'", '"') == wanted]


def _distribution() -> Distribution | None:
    """The metadata beside the package that runs: a checkout in the current folder may have others."""
    from importlib.metadata import Distribution

    return next(iter(Distribution.discover(name=_NAME, path=[str(_PACKAGE.parent)])), None)


def _shown(path: Path) -> str:
    """A path as one would type it here."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
