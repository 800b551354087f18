"""Requests of a program that is no node, and what comes back for them."""

from __future__ import annotations

import os
from typing import Any, Self

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic
from horus_async.errors import TopicError
from horus_async.nodes.interface.identity import Request
from horus_async.topics import Topic, check_topic_name

_LOOK_NS = 2_000_000


class Conversation:
    """Requests on one topic, and what comes back for them on another."""

    def __init__(self, namespace: str, name: str, asks: str, answers: str) -> None:
        check_topic_name(name)
        self._answers = Topic(f"{name}/{answers}", namespace=namespace)
        try:
            self._asks = Topic(f"{name}/{asks}", namespace=namespace)
        except BaseException:
            self._answers.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._asks.close()
        self._answers.close()

    def ask(self, value: Any) -> Request:
        """Send a request; says how it will be named."""
        self._asks.send(value)
        publisher = self._asks._publisher  # noqa: SLF001 - a handle does not say what number its message got
        assert publisher is not None
        return Request(f"topic-{os.getpid()}", publisher.next_seq - 1, None)

    def next_of(self, asked: Request, timeout: float | None) -> dict[str, Any] | None:
        """What came back next; None if nothing did in time."""
        until_ns = None if timeout is None else monotonic_ns() + round(timeout * NANOSECONDS)
        while True:
            said = self.next_now(asked)
            if said is not None:
                return said
            now_ns = monotonic_ns()
            if until_ns is not None and now_ns >= until_ns:
                return None
            sleep_until_monotonic(now_ns + _LOOK_NS)

    def next_now(self, *asked: Request) -> dict[str, Any] | None:
        """What has come back for one of these; None if nothing has. Messages that are none are nobody's answers."""
        while True:
            try:
                message = self._answers.recv_message()
            except TopicError:
                continue
            if message is None:
                return None
            named = Request.named_in(message.value)
            if named is not None and any(one.is_meant_by(named) for one in asked):
                said: dict[str, Any] = message.value
                return said
