"""What the tests of launch share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from horus_async.topics.ring import memory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def left_by_killed(namespace: str) -> Iterator[None]:
    """Takes away the shared memory of programs that were killed, or ended while they started, and not started again."""
    yield
    shutil.rmtree(memory.root() / namespace, ignore_errors=True)
