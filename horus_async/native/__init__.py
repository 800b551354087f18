"""Whether the native core is in use: ``core`` is it, or None.

It is an extension in C, built where there is a compiler, and does the same as the Python code beside which it stands,
which is the reference. ``HORUS_NATIVE=0`` in the environment does without it.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

SWITCH = "HORUS_NATIVE"
"""The environment variable: 0 to do without the native core."""

INTERFACE = 3
"""What the Python code expects of the core: ``INTERFACE`` in ``native/native.h``."""

_MODULE = "horus_async._native"


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get(SWITCH) == "0":
        return None, f"switched off by {SWITCH}=0"
    try:
        module = import_module(_MODULE)
    except ModuleNotFoundError:
        return None, "not built"
    except ImportError as error:
        return None, f"cannot be loaded: {error}"
    if getattr(module, "INTERFACE", None) != INTERFACE:
        return None, "built from other sources than the Python code is of"
    return module, ""


core, reason = _load()
"""The native core, and why it is not in use."""


def is_broken() -> bool:
    """Whether it was built and yet cannot be used."""
    return core is None and os.environ.get(SWITCH) != "0" and find_spec(_MODULE) is not None
