"""Which form is in use, and that a core of other sources is left alone."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from horus_async import native

HEADER = Path(__file__).parents[2] / "native" / "native.h"


@pytest.mark.parametrize("interface", [None, 0, native.INTERFACE + 1])
def test_a_core_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch, interface: int | None) -> None:
    """A checkout was updated and not installed again: Python goes on without it, and says so."""
    older = ModuleType("horus_async._native")
    if interface is not None:
        vars(older)["INTERFACE"] = interface
    monkeypatch.setattr(native, "import_module", lambda _: older)
    monkeypatch.delenv(native.SWITCH, raising=False)
    core, reason = native._load()
    assert core is None
    assert "other sources" in reason


def test_both_sides_name_the_same_interface() -> None:
    """The number in the C code and that in the Python code."""
    assert re.findall(r"#define INTERFACE (\d+)", HEADER.read_text(encoding="utf-8")) == [str(native.INTERFACE)]
