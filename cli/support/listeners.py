"""Who reads what this process sends: which other processes have its rings mapped."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from horus_async.limits.threads import start_thread
from horus_async.observe import Observer
from horus_async.topics.discovery import others_listen
from horus_async.topics.external.rings import ring_file
from horus_async.topics.ring import memory
from horus_async.topics.ring.names import path_component

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from horus_async.observe import RunInfo
    from horus_async.topics.external.rings import RingFile

LOOK_SECONDS = 0.2


class Listeners(Observer):
    """Watches a run, and notes which of its topics somebody reads."""

    hears_messages = False

    def __init__(self, namespace: str | None, topics: Iterable[str], *, processes: Path = Path("/proc")) -> None:
        """Watch the rings of a namespace; None for that of the run."""
        self.unheard = set(topics)
        """Those that no other process was seen to read."""
        self._namespace = namespace
        self._processes = processes
        self._over = threading.Event()

    def run_started(self, run: RunInfo) -> None:
        """Take the run's namespace."""
        if self._namespace is None:
            self._namespace = run.namespace

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look now and then meanwhile."""
        thread = threading.Thread(target=self._watch, name="listeners", daemon=True)
        start_thread(thread)
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def run_stopped(self, reason: str, ticks: int) -> None:
        """Look once more, while the rings are there."""
        del reason, ticks
        self._over.set()
        self.look()

    def look(self) -> None:
        """Strike out the topics that are read now."""
        if not self.unheard or self._namespace is None:
            return
        mapped = mapped_by_others(self._namespace, self._processes)
        if mapped is None:  # the system does not say which
            if others_listen(self._namespace):
                self.unheard.clear()
            return
        self.unheard = {topic for topic in self.unheard if path_component(topic) not in mapped}

    def _watch(self) -> None:
        while self.unheard and not self._over.wait(LOOK_SECONDS):
            self.look()


def mapped_by_others(namespace: str, processes: Path) -> set[str] | None:
    """The topics, as `path_component` writes them, whose rings of this process others have mapped; see proc(5).

    None where the system does not tell.
    """
    found = mapped(namespace, processes)
    if found is None:
        return None
    mine = f"{os.getpid():x}-"
    return {file.component for pid, files in found.items() if pid != os.getpid() for file in files if _of(file, mine)}


def readers(namespace: str, processes: Path = Path("/proc")) -> dict[str, set[int]] | None:
    """By topic, as `path_component` writes it, the other processes that have rings of it mapped that are not theirs.

    None where the system does not tell. Who waits for a topic that nobody publishes has no ring of it yet.
    """
    found = mapped(namespace, processes)
    if found is None:
        return None
    topics: dict[str, set[int]] = {}
    for pid, files in found.items():
        for file in files:
            if pid != os.getpid() and not _of(file, f"{pid:x}-"):
                topics.setdefault(file.component, set()).add(pid)
    return topics


def _of(file: RingFile, process: str) -> bool:
    return file.ring.startswith(process)


def mapped(namespace: str, processes: Path) -> dict[int, set[RingFile]] | None:
    """The rings of a namespace that each process has mapped; None where the system does not tell."""
    if not (processes / "self" / "maps").exists():
        return None
    folder = f" {(memory.root() / path_component(namespace)).resolve()}/"
    found: dict[int, set[RingFile]] = {}
    for process in processes.iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):  # it has ended, or is somebody else's
            for line in (process / "maps").read_text(errors="replace").splitlines():
                _, there, name = line.partition(folder)
                file = ring_file(name.removesuffix(" (deleted)")) if there else None
                if file is not None:
                    found.setdefault(int(process.name), set()).add(file)
    return found
