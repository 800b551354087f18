"""docs/safety.md says what the code does."""

from __future__ import annotations

from horus_async.engine.safety import SAFE_STATE_LIMIT_NS
from horus_async.engine.watchdog import STAGES
from tests.engine.programs import ROOT

from .diagram import diagrams

PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")


def test_the_diagrams_are_the_table() -> None:
    """The diagrams of the policies are those drawn from the table in failure.py; redraw them when it changes."""
    assert diagrams() in PAGE


def test_the_page_names_the_stages_and_limits() -> None:
    """The watchdog's stages are on the page, and the limit of a safe state."""
    assert all(f"`{stage}`" in PAGE for stage in STAGES)
    assert SAFE_STATE_LIMIT_NS == 1_000_000_000
    assert "one second" in PAGE
