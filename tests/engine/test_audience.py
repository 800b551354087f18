"""Who is told of a run, and where: in the event loop's thread, in order, whoever sends from where."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest

from horus_async import Ignore, Node, RecordingOptions, Scheduler, rng, sleep, tick
from horus_async.engine.audience import ELSEWHERE, Audience
from horus_async.observe import Execution, Logged, Observer, Sent, TickEnd
from horus_async.recorder import ExecutionRecord, open_session, tick_digest

if TYPE_CHECKING:
    from pathlib import Path


class Witness(Observer):
    """Keeps what it was told and in which thread."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.threads: set[int] = set()
        self.missing: dict[str, int] = {}

    def sent(self, message: Sent) -> None:
        """A message."""
        self._note("sent", (message.topic, message.seq))

    def executed(self, execution: Execution) -> None:
        """The end of a callback."""
        self._note("executed", execution.node)

    def tick_ended(self, end: TickEnd) -> None:
        """The end of a tick."""
        self._note("tick", end.tick)

    def missed(self, node: str, count: int) -> None:
        """What nobody got to."""
        self.missing[node] = self.missing.get(node, 0) + count

    def _note(self, what: str, which: object) -> None:
        self.told.append((what, which))
        self.threads.add(threading.get_ident())


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_threads_send_is_told_of_in_the_loops_thread(*, deterministic: bool) -> None:
    """Messages of a compute node and of a tick's own threads come before the end of the tick that sent them."""

    async def threaded(node: Node) -> None:
        node.send("a", tick())
        await anyio.to_thread.run_sync(node.send, "b", tick())
        node.send("a", tick())

    witness = Witness()
    scheduler = Scheduler(deterministic=deterministic, tick_rate=50).observe(witness)
    scheduler.add(Node("threaded", tick=threaded, rate=50))
    scheduler.add(Node("compute", tick=lambda node: node.send("c", tick()), rate=50, compute=True))
    scheduler.run_sync(0.2)
    assert len(witness.threads) == 1
    ends = {"a": "threaded", "b": "threaded", "c": "compute"}
    for topic, node in ends.items():
        at = [n for n, (what, which) in enumerate(witness.told) if what == "sent" and which[0] == topic]  # type: ignore[index]
        seqs = [witness.told[n][1][1] for n in at]  # type: ignore[index]
        assert seqs == list(range(len(seqs)))
        assert seqs
        finished = [n for n, told in enumerate(witness.told) if told == ("executed", node)]
        assert len(finished) >= len(seqs) // 2
        assert at[-1] < finished[-1]


def test_what_nobody_gets_to_is_counted_not_kept() -> None:
    """While the event loop does not come to it, messages of threads take bounded memory."""
    witness = Witness()
    audience = Audience([witness])
    woken: list[bool] = []
    audience.wake = lambda: woken.append(True)
    for seq in range(ELSEWHERE + 5):
        audience.sent_elsewhere(Sent("driver", "t", seq, 0, b"1", 0))
    assert (witness.told, woken) == ([], [True])
    audience.sent(Sent("driver", "t", ELSEWHERE + 5, 0, b"1", 0))
    assert [which[1] for _, which in witness.told] == [*range(ELSEWHERE), ELSEWHERE + 5]  # type: ignore[index]
    assert witness.missing == {"driver": 5}


def test_the_digest_begins_with_the_first_tick(recordings_dir: Path) -> None:
    """What ``init`` sends before it is in no tick's digest; what is sent by one that runs again in tick 0 is."""
    tries: list[int] = []

    def init(node: Node) -> None:
        tries.append(1)
        node.send("t", len(tries))
        if len(tries) == 1:
            raise ValueError("the first time")

    async def early(node: Node) -> None:
        node.send("e", tick())
        await sleep(0.05)

    scheduler = Scheduler(tick_rate=10, deterministic=True, recording="s")
    scheduler.add(Node("early", tick=early, order=-1, pubs=["e"]))
    scheduler.add(Node("late", init=init, tick=lambda _: None, failure_policy=Ignore(), pubs=["t"]))
    scheduler.run_sync(0.1)
    session = open_session("s")
    lines = {
        node: [line for line in session.executions(node) if isinstance(line, ExecutionRecord)] for node in session.nodes
    }
    early_sent, late_sent = (
        [
            Sent(node, out.topic, out.seq, out.stamp_ns, out.payload, out.tick)
            for line in lines[node]
            for out in line.outputs
        ]
        for node in ("early", "late")
    )
    assert [sent.payload for sent in late_sent] == [b"1", b"2"]
    assert next(iter(session.scheduler_ticks())).digest == tick_digest([*early_sent, late_sent[1]])


def test_a_redaction_does_not_run_inside_a_send(recordings_dir: Path) -> None:
    """A redaction takes none of the node's random numbers, and its exceptions are not the node's."""

    def messages(**options: Any) -> list[Any]:
        sent: list[Any] = []

        def send(node: Node) -> None:
            node.send("t", rng().random())
            sent.append(rng().random())

        Scheduler(deterministic=True, **options).add(Node("a", tick=send)).run_sync(0.05)
        return sent

    def redact(_: Any) -> Any:
        return rng().random()

    assert messages(recording=RecordingOptions(redact={"t": redact})) == messages()


def test_who_hears_what_is_logged() -> None:
    """Each from its own level on, in the thread that logs; one that fails is left out, and the others hear of it."""

    class Hears(Observer):
        hears_messages = False

        def __init__(self, level: int | None, *, kept_back: bool = False, fails: bool = False) -> None:
            self.logs_from, self.logs_kept_back, self.fails = level, kept_back, fails
            self.heard: list[tuple[str | None, int | None, str]] = []
            self.threads: set[int] = set()

        def logged(self, line: Logged) -> None:
            self.threads.add(threading.get_ident())
            self.heard.append((line.node, line.tick, line.message.partition(" ")[0]))
            if self.fails:
                raise RuntimeError("no")

    async def work(node: Node) -> None:
        node.log.debug("debug")
        await anyio.to_thread.run_sync(node.log.info, "info")
        node.log.warning("warning")

    nothing, fails, warnings, usual, all_ = observers = [
        Hears(None),
        Hears(logging.WARNING, fails=True),
        Hears(logging.WARNING),
        Hears(0),
        Hears(logging.DEBUG, kept_back=True),
    ]
    scheduler = Scheduler(deterministic=True).add(Node("arm", tick=work, rate=50))
    for observer in observers:
        scheduler.observe(observer)
    scheduler.run_sync(0.04)
    said = {level: [("arm", tick, level) for tick in (0, 2)] for level in ("debug", "info", "warning")}
    left_out = (None, 0, "Hears")
    assert nothing.heard == []
    assert fails.heard == said["warning"][:1]
    assert warnings.heard == [left_out, *said["warning"]]
    pairs = list(zip(said["info"], said["warning"], strict=True))
    assert usual.heard == [pairs[0][0], left_out, pairs[0][1], *pairs[1]]
    everything = [one for one in all_.heard if one != left_out]
    assert everything == [said[level][number] for number in (0, 1) for level in said]
    assert len(all_.threads) > 1


def test_levels_apply_once_the_run_has_begun() -> None:
    """Before, what the runtime says is nobody's."""
    audience = Audience([])
    assert not audience.has_begun
    assert audience.logs_from == math.inf
