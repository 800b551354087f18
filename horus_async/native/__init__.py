"""Whether the native core is in use: ``core`` is it, or None.

It is an extension in C, built where there is a compiler, and does the same as the Python code beside which it stands,
which is the reference. ``HORUS_NATIVE=0`` in the environment does without it.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

SWITCH = "HORUS_NATIVE"
"""The environment variable: 0 to do without the native core."""


def _load() -> ModuleType | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return import_module("horus_async._native")
    except ImportError:
        return None


core = _load()
