"""Buses, publishers and subscribers of one process."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from horus_async.errors import ConfigurationError, TopicError, TopicNameError
from horus_async.topics import Bus
from horus_async.topics.ring import memory

if TYPE_CHECKING:
    from horus_async.topics import Subscriber


def drain(subscriber: Subscriber) -> list[Any]:
    """All unread messages."""
    messages = []
    while (message := subscriber.take()) is not None:
        messages.append(message)
    return messages


def test_a_message_has_an_identity() -> None:
    """A message arrives with its payload, publisher, sequence number and stamp."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        publisher = bus.publisher("t", "node ä")
        assert publisher.publish(b"1", 100) == 0
        assert publisher.publish(b"[2]", 50) == 1

        assert subscriber.take() == (b"1", "node ä", 0, 100)
        assert subscriber.take() == (b"[2]", "node ä", 1, 50)
        assert subscriber.take() is None


def test_each_publisher_counts_for_itself() -> None:
    """Sequence numbers count per topic and publisher, also through publishers asked for twice."""
    with Bus() as bus:
        seqs = [
            bus.publisher(topic, name).publish(b"0", 0)
            for topic in ("s", "t")
            for name in ("a", "b", "a")
            for _ in "12"
        ]

    assert seqs == [0, 1, 0, 1, 2, 3] * 2


def test_a_given_sequence_number_is_kept() -> None:
    """A replay gives recorded numbers; counting goes on after them."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        publisher = bus.publisher("t", "a")

        assert [publisher.publish(b"0", 0, seq) for seq in (7, None, 3, None)] == [7, 8, 3, 4]
        assert [message[2] for message in drain(subscriber)] == [7, 8, 3, 4]


def test_has_message_consumes_nothing() -> None:
    """Looking, also at the newest message, leaves all messages unread (J.1-52)."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        assert not subscriber.has_message()
        assert subscriber.latest() is None
        publisher = bus.publisher("t", "a")
        publisher.publish(b"1", 1)
        publisher.publish(b"2", 2)

        for _ in range(3):
            assert subscriber.has_message()
            assert subscriber.latest() == (b"2", "a", 1, 2)
        assert len(drain(subscriber)) == 2
        assert not subscriber.has_message()
        assert subscriber.latest() == (b"2", "a", 1, 2)


def test_the_newest_message_is_told_however_it_was_written() -> None:
    """Small ones are at hand in the writer, larger ones and the first of their size are not."""
    with Bus() as bus:
        subscriber, other = bus.subscriber("t"), bus.subscriber("t")
        publisher = bus.publisher("t", "a")
        for stamp, size in enumerate([1, 1, 100_000, 1, 300, 300, 3_000_000, 2, 2]):
            payload = b"x" * size
            publisher.publish(payload, stamp)

            assert subscriber.latest() == (payload, "a", stamp, stamp)
            assert other.latest() == subscriber.latest()
        publisher.publish(b"y" * 200_000, 9)
        bus.publisher("t", "b").publish(b"z", 10)
        assert subscriber.latest() == (b"z", "b", 0, 10)


def test_subscribers_have_their_own_places() -> None:
    """Each subscriber gets each message once, whatever the others did."""
    with Bus() as bus:
        one, other = bus.subscriber("t"), bus.subscriber("t")
        publisher = bus.publisher("t", "a")
        for number in range(3):
            publisher.publish(b"%d" % number, number)
            one.take()

        assert len(drain(other)) == 3
        assert one.take() is None


def test_late_subscribers() -> None:
    """A subscriber begins with what comes after it; from the start, with what came since the bus was opened."""
    with Bus() as bus:
        publisher = bus.publisher("t", "a")
        publisher.publish(b"0", 0)
        now, start = bus.subscriber("t"), bus.subscriber("t", from_start=True)
        publisher.publish(b"1", 1)

        assert [message[0] for message in drain(now)] == [b"1"]
        assert [message[0] for message in drain(start)] == [b"0", b"1"]
        assert (now.arrived, start.arrived) == (1, 2)


def test_from_the_start_of_a_bus() -> None:
    """From the start means from when this bus was opened, for the messages of other buses, too."""
    with Bus() as other:
        sender, latecomer = other.publisher("t", "other"), other.publisher("t", "late")
        sender.publish(b"before", 0)
        with Bus() as bus, Bus() as third:
            sender.publish(b"after", 1)
            latecomer.publish(b"late", 2)
            third.publisher("t", "third").publish(b"third", 3)
            bus.publisher("t", "own").publish(b"own", 4)
            subscriber = bus.subscriber("t", from_start=True)

            assert [message[0] for message in drain(subscriber)] == [b"after", b"late", b"third", b"own"]
            assert subscriber.arrived == subscriber.consumed == 4


def test_rings_are_merged_by_stamp() -> None:
    """Messages of several buses come in the order of their stamps; those of one bus in the order of sending."""
    with Bus() as one, Bus() as other, Bus() as listener:
        subscriber = listener.subscriber("t")
        for stamp in (1, 4, 5, 9, 8):
            one.publisher("t", "one").publish(b"0", stamp)
        for stamp in (-3, 2, 5, 6):
            other.publisher("t", "other").publish(b"0", stamp)

        messages = [(name, stamp) for _, name, _, stamp in drain(subscriber)]

    one_first = [("other", -3), ("one", 1), ("other", 2), ("one", 4), ("one", 5), ("other", 5), ("other", 6)]
    assert messages == [*one_first, ("one", 9), ("one", 8)]


def test_topics_and_namespaces_are_apart() -> None:
    """Only the same topic in the same namespace is heard; names are case-sensitive."""
    with Bus() as bus, Bus("elsewhere-of-this-test") as elsewhere:
        subscriber = bus.subscriber("t")
        bus.publisher("T", "a").publish(b"0", 0)
        bus.publisher("t/u", "a").publish(b"0", 0)
        elsewhere.publisher("t", "a").publish(b"0", 0)

        assert subscriber.take() is None


def test_an_isolated_bus_hears_only_itself() -> None:
    """An isolated bus sees no message of others, but they see and are woken by its own."""
    with Bus() as outside, Bus(isolated=True) as isolated, Bus(isolated=True) as other:
        inside, watching = isolated.subscriber("t"), outside.subscriber("t")
        woken: list[int] = []
        watching.on_message(lambda: woken.append(1))
        outside.publisher("t", "outside").publish(b"1", 1)
        other.publisher("t", "other").publish(b"2", 2)
        isolated.publisher("t", "inside").publish(b"3", 3)

        assert [message[0] for message in drain(inside)] == [b"3"]
        assert [message[0] for message in drain(watching)] == [b"1", b"2", b"3"]
        assert len(woken) == 3
        assert isolated.subscriber("t", from_start=True).take() == (b"3", "inside", 0, 3)


def test_overflow_is_counted_exactly() -> None:
    """The oldest messages go, and lost says how many the subscriber missed (J.1-50)."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        publisher = bus.publisher("t", "a", capacity=4096)
        for number in range(500):
            publisher.publish(b"%d" % number, number)

        lost = subscriber.lost
        messages = drain(subscriber)

        assert [message[2] for message in messages] == list(range(lost, 500))
        assert 0 < lost == subscriber.lost < 500
        assert subscriber.arrived == subscriber.consumed == 500


def test_capacity_grows_on_request() -> None:
    """The largest capacity that anybody asked for counts, also after the first message."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        bus.publisher("t", "a", capacity=4096).publish(b"0", 0)
        publisher = bus.publisher("t", "b", capacity=1 << 18)
        for _ in range(4000):
            publisher.publish(b"0", 0)

        assert subscriber.lost == 0
        assert len(drain(subscriber)) == 4001


def test_a_reader_that_keeps_up_follows_a_ring_that_grows() -> None:
    """Taking each message at once goes on without a gap when the ring grows in between."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        for capacity in (4096, 8192, 1 << 16):
            publisher = bus.publisher("t", "a", capacity=capacity)
            for number in range(300):
                seq = publisher.publish(b"%3d" % number, number)
                assert subscriber.take() == (b"%3d" % number, "a", seq, number)
                assert subscriber.take() is None
        assert (subscriber.lost, subscriber.consumed) == (0, 900)


def test_losses_in_a_bus_that_was_closed_are_remembered() -> None:
    """What was lost stays counted when the ring is gone."""
    with Bus() as listener:
        subscriber = listener.subscriber("t")
        with Bus() as bus:
            publisher = bus.publisher("t", "a", capacity=4096)
            for number in range(200):
                publisher.publish(b"%d" % number, number)
        taken = len(drain(subscriber))

        assert 0 < taken < 200
        assert subscriber._readers == ()
        assert (subscriber.lost, subscriber.arrived, subscriber.consumed) == (200 - taken, 200, 200)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "1MB", True])
def test_bad_capacities(capacity: int) -> None:
    """A capacity that is no positive whole number is refused."""
    with Bus() as bus, pytest.raises(ConfigurationError, match="capacity is a number of bytes"):
        bus.publisher("t", "a", capacity=capacity)


@pytest.mark.parametrize("name", ["", "x" * 256, "ä" * 128, "\ud800"])
def test_bad_publisher_names(name: str) -> None:
    """A publisher's name must fit into the table."""
    with Bus() as bus, pytest.raises(ConfigurationError, match="a publisher's name"):
        bus.publisher("t", name)


def test_bad_topic_names() -> None:
    """Names are checked by publishers and subscribers."""
    with Bus() as bus:
        for open_topic in (bus.subscriber, lambda name: bus.publisher(name, "a")):
            with pytest.raises(TopicNameError):
                open_topic("/t")


def test_closing_a_bus_leaves_the_last_messages() -> None:
    """Live readers of a bus that was closed read the rest, keep its newest message and its numbers (SPEC 10)."""
    with Bus() as listener:
        subscriber = listener.subscriber("t")
        with Bus() as bus:
            publisher = bus.publisher("t", "a")
            publisher.publish(b"1", 1)
            publisher.publish(b"2", 2)
        assert list(memory.root().glob(f"*{bus.namespace}*/*@*")) == []

        assert [message[0] for message in drain(subscriber)] == [b"1", b"2"]
        assert subscriber.latest() == (b"2", "a", 1, 2)
        assert (subscriber.arrived, subscriber.consumed, subscriber.lost) == (2, 2, 0)
        listener.publisher("t", "b").publish(b"3", 3)
        assert drain(subscriber) == [(b"3", "b", 0, 3)]
        assert subscriber.arrived == 3


def test_a_closed_bus_says_so() -> None:
    """Everything that needs an open bus is a clear error after close; closing twice is fine."""
    bus = Bus()
    publisher, early = bus.publisher("t", "a"), bus.publisher("t", "never used")
    subscriber = bus.subscriber("t")
    publisher.publish(b"1", 0)
    bus.close()
    bus.close()

    for action in (
        lambda: publisher.publish(b"1", 0),
        lambda: publisher.publish(b"a size not met yet", 0),
        lambda: publisher.publish([b"1", b"2"], 0),
        lambda: early.publish(b"1", 0),
        lambda: bus.publisher("t", "a"),
        lambda: bus.subscriber("t"),
    ):
        with pytest.raises(TopicError, match="closed"):
            action()
    subscriber.close()
    with pytest.raises(TopicError, match="closed"):
        subscriber.take()


def test_watchers() -> None:
    """A callback is called once for each message, in the publisher's thread, until it is taken away."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        calls: list[tuple[str, bool]] = []
        unwatch = subscriber.on_message(
            lambda: calls.append((threading.current_thread().name, subscriber.has_message()))
        )
        subscriber.on_message(lambda: calls.append(("second", True)))
        publisher = bus.publisher("t", "a")
        publisher.publish(b"1", 0)
        sender = threading.Thread(target=publisher.publish, args=(b"2", 0), name="sender")
        sender.start()
        sender.join()
        bus.publisher("u", "a").publish(b"3", 0)

        assert calls == [("MainThread", True), ("second", True), ("sender", True), ("second", True)]
        unwatch()
        unwatch()
        publisher.publish(b"4", 0)
        assert calls[4:] == [("second", True)]
        subscriber.close()
        publisher.publish(b"5", 0)
        assert calls[5:] == []


def test_many_threads_publish_at_once() -> None:
    """Messages from several threads are all there, whole, and in order for each publisher."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Bus() as bus:
            subscriber = bus.subscriber("t")
            publishers = [bus.publisher("t", name, capacity=1 << 20) for name in "aabc"]
            start = threading.Barrier(len(publishers))

            def send(publisher: Any) -> None:
                start.wait()
                for number in range(1000):
                    publisher.publish(publisher.name.encode() * (number % 90), number)

            threads = [threading.Thread(target=send, args=(publisher,)) for publisher in publishers]
            for thread in threads:
                thread.start()
            seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}
            while sum(map(len, seen.values())) < 4000:
                message = subscriber.take()
                if message is not None:
                    assert set(bytes(message[0]).decode()) <= {message[1]}
                    seen[message[1]].append(message[2])
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(switch)

    assert seen == {"a": list(range(2000)), "b": list(range(1000)), "c": list(range(1000))}
    assert subscriber.lost == 0


def test_a_forgotten_bus_warns_and_cleans_up() -> None:
    """A bus that nobody closed is a ResourceWarning, and its files go."""
    bus = Bus()
    bus.publisher("t", "a").publish(b"1", 0)
    folder = memory.root() / bus.namespace
    assert list(folder.iterdir())

    with pytest.warns(ResourceWarning, match="was never closed"):  # noqa: PT031 - both make it go
        del bus
        gc.collect()
    assert not folder.exists()


def test_files_go_when_the_process_ends() -> None:
    """A program that closes nothing leaves no file, not even when it ends by an exception."""
    program = (
        "from horus_async.topics import Bus, Topic\nfrom horus_async.topics.ring import memory\n"
        "bus = Bus(); bus.publisher('t', 'a').publish(b'1', 0)\n"
        "topic = Topic('u'); topic.send(1)\n"
        "print(memory.root() / bus.namespace, len(list((memory.root() / bus.namespace).glob('*@*'))))\n"
        "raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    folder, files = done.stdout.split()

    assert (done.returncode, files) == (3, "2")
    assert not Path(folder).exists()


def test_after_a_fork() -> None:
    """A child process cannot write its parent's rings, opens its own, and removes nothing of its parent's."""
    program = """
import os
from horus_async.errors import TopicError
from horus_async.topics import Bus, Topic

bus, topic = Bus(), Topic("t")
publisher, unused, subscriber = bus.publisher("s", "a"), bus.publisher("u", "a"), bus.subscriber("s")
publisher.publish(b"1", 0)
topic.send(1)
child = os.fork()
if child == 0:
    refused = 0
    for action in (lambda: publisher.publish(b"2", 0), lambda: unused.publish(b"2", 0), lambda: topic.send(2)):
        try:
            action()
        except TopicError as error:
            refused += "before a fork; open it again" in str(error)
    with Topic("t") as own:
        own.send("child")
        assert own.recv() == "child"
    topic.close()
    bus.close()
    os._exit(refused)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert publisher.publish(b"3", 0) == 1
topic.send(4)
heard = set()
while len(heard) < 3:
    heard |= {topic.recv()} - {None}
assert heard == {1, "child", 4}
assert [subscriber.take()[0], subscriber.take()[0], subscriber.take()] == [b"1", b"3", None]
topic.close()
bus.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


class BusModel(RuleBasedStateMachine):
    """Subscribers of a bus with small rings against a list of all messages."""

    @initialize()
    def open(self) -> None:
        """One bus."""
        self.bus = Bus("model-of-this-test", isolated=True)
        self.sent: list[Any] = []
        self.counters: dict[str, int] = {}
        self.places: dict[Any, int] = {}

    @rule(name=st.sampled_from("abc"), sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=30))
    def publish(self, name: str, sizes: list[int]) -> None:
        """Some messages of one node."""
        publisher = self.bus.publisher("t", name, capacity=4096)
        for size in sizes:
            payload = b"%d" % len(self.sent) + b" " * (size % 100 if size < 5500 else size)
            seq = self.counters.get(name, 0)
            assert publisher.publish(payload, len(self.sent)) == seq
            self.counters[name] = seq + 1
            self.sent.append((payload, name, seq, len(self.sent)))

    @rule(name=st.sampled_from("abc"), seqs=st.lists(st.integers(0, 2**63), min_size=1, max_size=30))
    def ping(self, name: str, seqs: list[int]) -> None:
        """Messages that are taken at once, as in a control loop."""
        publisher = self.bus.publisher("t", name)
        for seq in seqs:
            publisher.publish(b"ping", len(self.sent), seq)
            self.counters[name] = seq + 1
            self.sent.append((b"ping", name, seq, len(self.sent)))
            self.take_some(count=1)

    @rule(from_start=st.booleans())
    def subscribe(self, from_start: bool) -> None:
        """One more subscriber."""
        subscriber = self.bus.subscriber("t", from_start=from_start)
        self.places[subscriber] = 0 if from_start else len(self.sent)
        assert subscriber.arrived == len(self.sent) - self.places[subscriber]

    @rule(count=st.integers(1, 30))
    def take_some(self, count: int) -> None:
        """Each subscriber reads on."""
        for subscriber in self.places:
            for _ in range(count):
                lost = subscriber.lost
                message = subscriber.take()
                assert (message is None) == (self.places[subscriber] == len(self.sent))
                if message is not None:
                    index = message[3]
                    assert message == self.sent[index]
                    assert index >= self.places[subscriber]
                    self.places[subscriber] = index + 1
                    assert subscriber.lost == lost
            assert subscriber.latest() == (self.sent[-1] if self.sent else None)

    @rule()
    def read_all(self) -> None:
        """In the end everything was taken or lost."""
        for subscriber in self.places:
            taken = len(drain(subscriber))
            self.places[subscriber] = len(self.sent)
            assert subscriber.consumed == subscriber.arrived >= subscriber.lost + taken

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "bus"):
            self.bus.close()


TestBus = BusModel.TestCase
TestBus.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_typed_topic_that_is_never_closed_ends_in_silence(tmp_path: Path) -> None:
    """Its class, which we remember, keeps the module of the program and so the topic until our modules are gone."""
    program = tmp_path / "program.py"
    program.write_text(
        "from attrs import define\n"
        "from horus_async import Topic\n"
        "@define\n"
        "class Wheel:\n"
        "    speed: float = 0.0\n"
        "wheel = Topic('wheel', Wheel)\n"
        "wheel.send(Wheel(1.0))\n"
        "print(wheel.recv())\n"
    )
    done = subprocess.run([sys.executable, str(program)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Wheel(speed=1.0)\n", "")
