"""The pytest fixture ``horus``. Installing this package makes it known to pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from .node import Node
    from .scheduler import Scheduler
    from .testing import Captured


@frozen
class HorusFixture:
    """What the fixture ``horus`` gives a test: topics and folders that are its own."""

    namespace: str
    """A topic namespace that nobody else uses; ``HORUS_NAMESPACE`` says the same to processes that the test starts."""
    recordings_dir: Path
    """Where this test's recordings go; ``HORUS_RECORDINGS_DIR`` says the same."""
    blackbox_dir: Path
    """Where its black boxes go; ``HORUS_BLACKBOX_DIR`` says the same."""

    def run_nodes(self, *nodes: Node, **options: Any) -> Captured:
        """See `horus_async.testing.run_nodes`."""
        from .testing import run_nodes

        return run_nodes(*nodes, namespace=self.namespace, **options)

    async def run_nodes_async(self, *nodes: Node, **options: Any) -> Captured:
        """See `horus_async.testing.run_nodes_async`."""
        from .testing import run_nodes_async

        return await run_nodes_async(*nodes, namespace=self.namespace, **options)

    def scheduler(self, **options: Any) -> Scheduler:
        """A `Scheduler` in this test's namespace, in virtual time unless ``deterministic=False`` is given."""
        from .scheduler import Scheduler

        return Scheduler(**{"deterministic": True, "namespace": self.namespace, **options})


@pytest.fixture
def horus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HorusFixture:
    """A corner of its own for a test of nodes: topic namespace, recordings, black boxes."""
    from .testing import unique_namespace

    fixture = HorusFixture(unique_namespace(), tmp_path / "recordings", tmp_path / "blackbox")
    monkeypatch.setenv("HORUS_NAMESPACE", fixture.namespace)
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(fixture.recordings_dir))
    monkeypatch.setenv("HORUS_BLACKBOX_DIR", str(fixture.blackbox_dir))
    return fixture
