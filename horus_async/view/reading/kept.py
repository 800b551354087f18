"""Reads what a page has one by one: messages and calls around what is notable, samples of the rest, images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.recorder.records import ExecutionRecord, SendsRecord
from horus_async.view.parts.details import Details, Message
from horus_async.view.parts.images import image_in, picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .recording import SessionReading

_BEFORE = 0.7
"""So much of a window is before what is notable in it."""
_MOST_WINDOWS = 10
_CALL_BYTES = 60
_LEAST_SAMPLE = 300


class KeptMessages:
    """The second reading of a session.

    Args:
        reading: The first.
    """

    def __init__(self, reading: SessionReading) -> None:
        self._reading = reading
        self._session, self._times, self._channels = reading.session, reading.times, reading.channels
        self._budget = reading.budget
        self.details = Details(reading.channels, self._budget.detail_bytes, self._budget.value_bytes)

    def read_details(self) -> list[list[int]] | None:
        """Read what goes in one by one; returns the spans of time, in µs, of which all is there. None: of all."""
        for message in self._session.earlier():  # of a session that was cut: what its ticks read from before
            number = self._channels.number(message.topic, message.publisher, message.source)
            at = self._times.at(message.stamp_ns, message.tick, external=True)
            self._put(number, Message(message.seq, at, message.tick, message.data))
        windows = self._windows()
        covered = []
        for first, last in windows:
            if self.details.room <= 0:
                break
            if self._read_window(first, last):
                covered.append([self._times.of_tick(first), self._times.of_tick(last + 1)])
        if covered and windows == [(self._times.first, self._times.last)]:
            return None
        self._read_samples()
        return sorted(covered)

    def _windows(self) -> list[tuple[int, int]]:
        """Ranges of ticks, the most notable ones first; one of all ticks where there is room for them."""
        first, last = self._times.first, self._times.last
        most = self._budget.value_bytes
        messages = sum(
            (min(self._reading.cost.get(n, 0), most) + 24) * c.count for n, c in enumerate(self._channels.all)
        )
        total = messages + sum(lane.calls * _CALL_BYTES for lane in self._reading.lanes.values())
        if total <= self._budget.detail_bytes:
            return [(first, last)]
        moments: list[int] = []
        for _, tick in sorted(set(self._reading.notable)):
            if first <= tick <= last and tick not in moments:
                moments.append(tick)
        moments = [*moments[: _MOST_WINDOWS - 2], first, last]
        span = max(4, round(self._budget.detail_bytes * 0.8 / len(moments) * (last - first + 1) / total))
        spans = []
        for tick in moments:
            begin = max(first, tick - round(span * _BEFORE))
            spans.append((begin, min(last, begin + span)))
        return _merged(spans)

    def _read_window(self, first: int, last: int) -> bool:
        """Keep all of a range of ticks; False where there was no room for some of it."""
        whole = True
        for node in self._session.nodes:
            for line in self._session.executions(node, first, last):
                if isinstance(line, ExecutionRecord) and first <= line.tick <= last:
                    call = self.details.call(node, line, self._times.at(line.now_ns, line.tick))
                    whole &= self._keep(node, line, call)
                elif isinstance(line, SendsRecord):
                    whole &= self._keep(node, line, None)
        for message in self._session.external(first, last):
            number = self._channels.number(message.topic, message.publisher, message.source)
            at = self._times.at(message.stamp_ns, message.tick, external=True)
            whole &= self._put(number, Message(message.seq, at, message.tick, message.data))
        return whole

    def _keep(self, node: str, line: ExecutionRecord | SendsRecord, call: int | None) -> bool:
        whole = True
        for sent in line.outputs:
            number = self._channels.number(sent.topic, node)
            at = self._times.at(sent.stamp_ns, sent.tick)
            kept = self._put(number, Message(sent.seq, at, sent.tick, sent.data), call)
            whole &= kept
            if kept and call is None and line.tick is not None:
                self.details.sent_during(node, line.tick, number, sent.seq)
        return whole

    def _put(self, channel: int, message: Message, call: int | None = None) -> bool:
        """Keep a message of a window, which is to be whole if it takes half as much again as there is room for."""
        return self.details.message(channel, message, call, forced=self.details.room > -self._budget.detail_bytes // 2)

    def _read_samples(self) -> None:
        """Some messages of each topic that are there in any case, spread over the time."""
        first, last = self._times.first, self._times.last
        many = self._budget.samples
        room = self._budget.detail_bytes // 4
        of_topics = max(1, len(self._channels.all))
        many = max(2, min(many, room // (of_topics * _LEAST_SAMPLE)))
        step = max(1, (last - first + 1) // many)
        reach = max(1, min(step, round(self._session.tick_rate)))
        for begin in range(first, last + 1, step):
            for node in self._session.nodes:
                seen: set[str] = set()
                for line in self._session.executions(node, begin, begin + reach - 1):
                    for sent in getattr(line, "outputs", ()):
                        if sent.topic in seen:
                            continue
                        seen.add(sent.topic)
                        number = self._channels.number(sent.topic, node)
                        at = self._times.at(sent.stamp_ns, sent.tick)
                        self.details.message(number, Message(sent.seq, at, sent.tick, sent.data), forced=True)

    def read_images(self) -> list[dict[str, Any]]:
        """Some images of each topic, spread over the time."""
        room = self._budget.image_bytes // max(1, len(self._reading.images))
        return [
            {"channel": number, "count": len(places), "images": self._some_images(number, places, room)}
            for number, places in self._reading.images.items()
        ]

    def _some_images(self, number: int, places: list[tuple[str, int, int]], room: int) -> list[dict[str, Any]]:
        first = self._image(number, *places[0])
        fit = self._budget.images if first is None else room // len(first["src"])
        found = (self._image(number, *place) for place in _spread(places, max(1, min(self._budget.images, fit))))
        shown = []
        for image in found:
            if image is not None and room > 0:
                room -= len(image["src"])
                shown.append(image)
        return shown

    def _image(self, number: int, node: str, tick: int, seq: int) -> dict[str, Any] | None:
        channel = self._channels.all[number]
        messages: Iterable[Any]
        if node:
            messages = (s for line in self._session.executions(node, tick, tick) for s in getattr(line, "outputs", ()))
        else:
            messages = (m for m in self._session.external(tick, tick) if m.publisher == channel.publisher)
        for message in messages:
            if message.topic == channel.topic and message.seq == seq:
                image = image_in(message.data)
                made = None if image is None else picture(image, self._budget.image_side)
                at = self._times.at(message.stamp_ns, message.tick)
                return None if made is None else {"seq": seq, "t": at, "tick": tick, "said": made[1], "src": made[0]}
        return None


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of which no two touch, in the order in which the first of each came."""
    ranked = {span: rank for rank, span in reversed(list(enumerate(spans)))}
    merged: list[tuple[int, int, int]] = []
    for begin, end in sorted(ranked):
        rank = ranked[begin, end]
        if merged and begin <= merged[-1][1] + 1:
            before = merged.pop()
            merged.append((before[0], max(before[1], end), min(before[2], rank)))
        else:
            merged.append((begin, end, rank))
    return [(begin, end) for begin, end, _ in sorted(merged, key=lambda span: span[2])]


def _spread(places: list[Any], most: int) -> Iterator[Any]:
    if len(places) <= most:
        yield from places
        return
    chosen = sorted({round(number * (len(places) - 1) / max(1, most - 1)) for number in range(most)})
    yield from (places[place] for place in chosen)
