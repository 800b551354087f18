"""Messages that are kept for late readers, against a model: in one process, and with publishers in another one.

The law: a late reader gets exactly the last n of each publisher, in the order of sending, then all later ones.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Topic
from horus_async.topics import Bus, subscriber
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.keeping.ended import release
from tests.topics.test_processes import Child, child, files, until

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("a", "b", "c")

PUBLISHERS = """
import json
from horus_async.topics import Bus
buses = {}
def step(kind, namespace, name, value):
    if kind == "start":
        bus = buses[name] = Bus(namespace)
        if value[0]:
            bus.keep("map", name, value[0])
        if value[1]:
            bus.publisher("map", name).open()
    elif kind == "send":
        from horus_async.clock.system import monotonic_ns
        buses[name].publisher("map", name).publish(b'"' + value.encode() + b'"', 0, None, monotonic_ns())
    elif kind == "stop":
        buses.pop(name).close()
"""


class Here:
    """Publishers of this process."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._places: dict[str, Any] = {}
        exec(PUBLISHERS, self._places)

    def step(self, kind: str, name: str, value: Any = None) -> None:
        """Let one of them do something."""
        self._places["step"](kind, self._namespace, name, value)

    def kill(self) -> bool:
        """It cannot be killed."""
        return False

    def close(self) -> None:
        """End them all."""
        for bus in self._places["buses"].values():
            bus.close()


class There:
    """Publishers of another process."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._start()

    def _start(self) -> None:
        self._context = child(
            PUBLISHERS + "tell('ready')\nwhile line := heard():\n    step(*json.loads(line)); tell('done')\n"
        )
        self._child: Child = self._context.__enter__()
        assert self._child.line() == "ready"

    def step(self, kind: str, name: str, value: Any = None) -> None:
        """Let one of them do something."""
        self._child.go(json.dumps([kind, self._namespace, name, value]))
        assert self._child.line() == "done"

    def kill(self) -> bool:
        """Kill the process, and start another."""
        self.close()
        self._start()
        return True

    def close(self) -> None:
        """End it."""
        self._context.__exit__(None, None, None)


@define
class Reader:
    """A handle, and what it has not read yet."""

    topic: Topic
    due: list[str]


@define
class Model:
    """What has to be there."""

    namespace: str
    publishers: Here | There
    running: dict[str, int] = field(factory=dict)
    """Names to what they keep."""
    fresh: set[str] = field(factory=set)
    """Those that have replaced nothing yet, as they have no ring."""
    kept: dict[str, deque[tuple[int, str]]] = field(factory=dict)
    readers: list[Reader] = field(factory=list)
    count: int = 0

    def step(self, kind: str, name: str, keep: int, size: int) -> None:
        """Do one thing, here and there."""
        if kind == "kill":
            if self.publishers.kill():
                self.running.clear()
                self.fresh.clear()
        elif kind == "late":
            self.look()
        elif kind == "read" and self.readers:
            self.read(self.readers[size % len(self.readers)])
        elif kind == "send":
            if name not in self.running:
                self.start(name, keep, opens=size % 2 == 0)
            self.send(name, size)
        elif kind == "stop" and name in self.running:
            self.publishers.step("stop", name)
            del self.running[name]
            self.fresh.discard(name)

    def start(self, name: str, keep: int, *, opens: bool) -> None:
        """A publisher comes."""
        self.publishers.step("start", name, [keep, opens])
        self.running[name] = keep
        self.fresh.add(name)
        if opens:
            self.replace(name)

    def replace(self, name: str) -> None:
        """A publisher makes its ring."""
        keep = self.running[name]
        if name in self.fresh:
            self.fresh.remove(name)
            if keep:
                self.kept[name] = deque(maxlen=keep)

    def send(self, name: str, size: int) -> None:
        """One message."""
        self.replace(name)
        value = f"{name}{self.count}" + "x" * size
        self.publishers.step("send", name, value)
        if self.running[name]:
            self.kept[name].append((self.count, value))
        for reader in self.readers:
            reader.due.append(value)
        self.count += 1

    def listen(self) -> None:
        """What a process that waits for messages does all the time: see new rings before they may go."""
        for reader in self.readers:
            discovery = reader.topic._bus._discovery
            assert discovery is not None
            discovery.refresh()
            for ring in list(discovery._rings.values()):
                ring.newest()

    def look(self) -> None:
        """A reader comes."""
        due = [value for _, value in sorted(pair for pairs in self.kept.values() for pair in pairs)]
        self.readers.append(Reader(Topic("map", namespace=self.namespace), due))
        if len(self.readers) % 2:
            self.read(self.readers[-1])

    def read(self, reader: Reader) -> None:
        """All that a reader has to get, and no more."""
        found: list[str] = []

        def complete() -> bool:
            found.extend(reader.topic.recv_all())
            return len(found) >= len(reader.due)

        until(complete)
        due = reader.due
        if isinstance(self.publishers, There):  # a new ring of another process is found a little later
            found.sort(key=lambda value: value[0])
            due.sort(key=lambda value: value[0])
        assert [one.strip("x") for one in found] == [one.strip("x") for one in due]
        assert found == due
        assert reader.topic.lost == 0
        reader.due.clear()

    def close(self) -> None:
        """Everybody reads to the end."""
        self.look()
        for reader in self.readers:
            self.read(reader)
            assert reader.topic.recv_all() == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "send", "stop", "late", "read", "kill"]),
        st.sampled_from(NAMES),
        st.integers(0, 3),
        st.sampled_from([0, 1, 10, 11, 5_000, 5_001, 200_000, 300_001]),
    ),
    min_size=20,
    max_size=40,
)


def _run(make: Callable[[str], Here | There], steps: list[tuple[str, str, int, int]]) -> None:
    namespace = f"keep{uuid.uuid4().hex[:12]}"
    publishers = make(namespace)
    with pytest.MonkeyPatch.context() as patch, Topic("alive", namespace=namespace):  # so that the namespace lives
        patch.setattr(subscriber, "ENDED_LIMIT", 1000)  # of rings that are not kept
        model = Model(namespace, publishers)
        try:
            for step in steps:
                model.step(*step)
                model.listen()
            model.close()
        finally:
            publishers.close()
            for reader in model.readers:
                reader.topic.close()
            release(namespace)
    reclaim(namespace, grace_ns=0, kept=True)
    assert files(namespace) == []


@given(STEPS)
@settings(max_examples=50)
def test_in_one_process(steps: list[tuple[str, str, int, int]]) -> None:
    """Publishers and readers are threads' or tasks' neighbours."""
    _run(Here, steps)


@given(STEPS)
@settings(max_examples=15)
def test_in_two_processes(steps: list[tuple[str, str, int, int]]) -> None:
    """Publishers are in another process, which is killed now and then."""
    _run(There, steps)


@pytest.mark.parametrize("native", ["0", "1"])
def test_a_mixed_pair(native: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either form in the other process keeps the same."""
    monkeypatch.setenv("HORUS_NATIVE", native)
    with Topic("alive"):
        publishers = There(namespace)
        publishers.step("start", "a", [2, True])
        for number in range(4):
            publishers.step("send", "a", str(number))
        with Topic("map") as topic:
            assert topic.recv_all() == ["2", "3"]
        publishers.step("stop", "a")
        with Topic("map") as topic:
            assert topic.recv_all() == ["2", "3"]
        publishers.close()
    reclaim(namespace, grace_ns=0, kept=True)


def test_the_namespace_ends_with_its_last_process(namespace: str) -> None:
    """Who comes first to a namespace where nobody takes part finds nothing of those before, however they ended."""
    for end in ("stop", "kill"):
        with Topic("alive"):
            publishers = There(namespace)
            publishers.step("start", "a", [1, True])
            publishers.step("send", "a", "old")
            if end == "stop":
                publishers.step("stop", "a")
            publishers.close()
            with Topic("map") as topic:
                assert topic.recv_all() == ["old"]
        with Topic("map") as topic:
            assert topic.recv_all() == []
    publishers = There(namespace)
    publishers.step("start", "a", [1, True])
    publishers.step("send", "a", "left by one that was killed alone")
    publishers.close()
    with Bus() as bus:
        assert bus.subscriber("map", from_start=True).take() is None
    assert files(namespace) == []
