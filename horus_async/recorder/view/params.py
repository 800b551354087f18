"""The parameters of a recorded run: as it began, and what they were set to."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from horus_async.nodes.interface.marks import ANNOUNCED
from horus_async.notebook.html_table import html_table
from horus_async.recorder.tables.stream import topic_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder.messages import Recorded

_SHOWN = 50
"""Rows that a notebook shows."""


@frozen
class ParamSetting:
    """A parameter has a value from a tick on."""

    tick: int
    """The scheduler tick in which it was set; the first one asked for, for what was set before."""
    node: str
    name: str
    value: Any


class RecordedParams:
    """The parameters of a session's nodes over time, oldest first: the values at the start, and every change.

    Iterate over it as often as you like; each time reads what the nodes announced. Where the recording leaves out the
    topic ``interfaces``, there are the values at the start only.
    """

    def __init__(self, session: Recorded, start: int = 0, stop: int | None = None) -> None:
        self._session = session
        self._start, self._stop = start, stop

    def __iter__(self) -> Iterator[ParamSetting]:
        known: dict[tuple[str, str], ParamSetting] = {}
        begun = False
        for setting in self._changes():
            if setting.tick > self._start and not begun:
                yield from (evolve(before, tick=self._start) for before in known.values())
                begun = True
            known[setting.node, setting.name] = setting
            if begun:
                yield setting
        if not begun:
            yield from (evolve(before, tick=self._start) for before in known.values())

    def at(self, tick: int | None = None) -> dict[str, Any]:
        """The values after a tick, by ``node.parameter``; None for the last one."""
        changes = (one for one in self if tick is None or one.tick <= tick)
        return {f"{one.node}.{one.name}": one.value for one in changes}

    def _repr_html_(self) -> str:
        rows = [(one.tick, one.node, one.name, one.value) for one in islice(self, _SHOWN + 1)]
        notes = [f"the first {_SHOWN}"] if len(rows) > _SHOWN else []
        caption = f"parameters of session {self._session.name}"
        return html_table(caption, ("tick", "node", "parameter", "value"), rows[:_SHOWN], notes)

    def _changes(self) -> Iterator[ParamSetting]:
        """What differs from what was said before."""
        known: dict[tuple[str, str], Any] = {}
        for setting in self._said():
            key = setting.node, setting.name
            if key not in known or known[key] != setting.value or type(known[key]) is not type(setting.value):
                known[key] = setting.value
                yield setting

    def _said(self) -> Iterator[ParamSetting]:
        for node, info in self._session.nodes.items():
            for name, value in info.params.items():
                yield ParamSetting(self._start, node, name, value)
        for message in topic_messages(self._session, ANNOUNCED, None, self._stop):
            said = message.value
            params = said.get("params") if isinstance(said, dict) else None
            if not isinstance(params, dict) or said.get("node") != message.publisher:
                continue
            for name, described in params.items():
                if isinstance(described, dict) and "value" in described:
                    yield ParamSetting(message.tick, message.publisher, str(name), described["value"])
