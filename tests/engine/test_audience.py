"""Who is told of a run, and where: in the event loop's thread, in order, whoever sends from where."""

from __future__ import annotations

import threading

import anyio.to_thread
import pytest

from horus_async import Node, Scheduler, tick
from horus_async.engine.audience import ELSEWHERE, Audience
from horus_async.observe import Execution, Observer, Sent, TickEnd


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
