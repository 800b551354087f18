"""The machine of these tests."""

from __future__ import annotations

import pytest

from .fake_machine import FakeMachine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """One that permits everything, in the place of the real one."""
    fake = FakeMachine()
    fake.put_in_place(monkeypatch)
    return fake
