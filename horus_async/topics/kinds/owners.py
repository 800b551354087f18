"""Whose a module is: the program's own, or a library's. By where it lies; nothing is imported, no code of it runs.

A module is a library's if its file is

- in the standard library, or frozen into the interpreter or an application (PyInstaller, cx_Freeze),
- below a folder ``site-packages`` or ``dist-packages``, or in an egg or a wheel,
- beside the ``.dist-info`` of an installed distribution that lists it, as after ``pip install --target``, also in a
  zip application.

Everything else is the program's own: the script, the modules beside it, a package that is installed as editable, tests,
notebooks, and modules that the program makes itself.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

_OURS = "horus_async"
_MAIN = frozenset({"__main__", "__mp_main__"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_ARCHIVES = (".egg", ".whl")

_known: dict[str, tuple[ModuleType | None, bool]] = {}
"""By name: the module that was asked for last, and the answer."""


def attributes(found: Any) -> dict[str, Any]:
    """What a module holds; one that is loaded on first use stays as it is."""
    if issubclass(type(found), ModuleType):
        return cast("dict[str, Any]", object.__getattribute__(found, "__dict__"))
    return cast("dict[str, Any]", vars(found))


def is_own(name: str) -> bool:
    """Whether the module of that name, which is imported, is the program's own."""
    if name in _MAIN:
        return True
    module = sys.modules.get(name)
    known = _known.get(name)
    if known is None or known[0] is not module:
        own = module is not None and issubclass(type(module), ModuleType) and _is_own(name, module)
        known = _known[name] = module, own
    return known[1]


def _is_own(name: str, module: ModuleType) -> bool:
    if name.partition(".")[0] == _OURS:
        return False
    file = _file(module)
    if file is not None:
        return not (_is_library(file, name) or _is_library(os.path.realpath(file), name))
    spec = attributes(module).get("__spec__")
    if getattr(spec, "origin", None) in {"built-in", "frozen"}:
        return False
    outer = name.rpartition(".")[0]
    return outer not in sys.modules or is_own(outer)


def _file(module: ModuleType) -> str | None:
    """Where a module lies; of a package without a file, one of its folders."""
    held = attributes(module)
    file = held.get("__file__")
    if not isinstance(file, str):
        file = next((path for path in held.get("__path__") or () if isinstance(path, str)), None)
    return None if file is None else os.path.abspath(file)  # noqa: PTH100 - a link is not to be followed yet


def _is_library(file: str, name: str) -> bool:
    path = Path(file)
    standard = Path(os.__file__).parent
    if path.is_relative_to(standard) or path.is_relative_to(standard.resolve()):
        return True
    if getattr(sys, "frozen", False) and path.is_relative_to(getattr(sys, "_MEIPASS", Path(sys.executable).parent)):
        return True
    packed = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    if any(part in _INSTALLED or part.endswith(_ARCHIVES) or part == packed for part in path.parts):
        return True
    return any(path.is_relative_to(place) for place in _installed(str(_root(path, name))))


def _root(path: Path, name: str) -> Path:
    """The folder or archive from which the outermost package of a module was imported."""
    steps = name.count(".") + (path.name.partition(".")[0] == "__init__")
    return path.parents[min(steps, len(path.parents) - 1)]


@lru_cache(256)
def _installed(root: str) -> frozenset[Path]:
    """The files and folders in ``root`` that distributions there list as their own."""
    if os.path.isdir(root):  # noqa: PTH112 - it may be an archive, or gone
        if not any(entry.endswith(".dist-info") for entry in os.listdir(root)):  # noqa: PTH208
            return frozenset()
    elif not os.path.isfile(root):  # noqa: PTH113
        return frozenset()
    from importlib.metadata import distributions

    listed = (file for found in distributions(path=[root]) for file in found.files or ())
    return frozenset(Path(root, first) for first in {file.parts[0] for file in listed})
