"""The lines of a session with other ticks and other names of nodes, as they are in a merged one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .files import Fields
    from .outside import Outside

_OF_CALLBACKS = ("tick", "init", "shutdown", "safe_state", "request", "sends")


@frozen
class LineChange:
    """Changes the fields of lines; the number is that of the session which they are from."""

    names: Sequence[dict[str, str]]
    """The new name of each node, by session."""
    ticks: Sequence[Callable[[int], int]]
    """Gives the new tick for an old one, by session."""
    outside: Outside

    def scheduler(self, fields: Fields, number: int) -> Fields | None:
        """A line of the scheduler; the names in it are changed where several lines become one."""
        return self._with_tick(fields, number)

    def callback(self, fields: Fields, number: int) -> Fields | None:
        """A line of a node."""
        changed = self._with_tick(fields, number)
        if changed is None or fields["kind"] not in _OF_CALLBACKS:
            return changed
        tick_of = self.ticks[number]
        outputs = fields.get("outputs", [])
        changed["outputs"] = [{**sent, "tick": tick_of(sent["tick"])} if "tick" in sent else sent for sent in outputs]
        for which in ("inputs", "looks"):
            if which in fields:
                changed[which] = [self._input(taken, number) for taken in fields[which]]
        return changed

    def external(self, fields: Fields, number: int) -> Fields | None:
        """A line of the file of external messages; None for a message that is there already."""
        changed = self._with_tick(fields, number)
        if changed is None or fields["kind"] == "earlier":  # for verification, which is of one run
            return None
        if fields["kind"] != "message":
            return changed
        topic, publisher, seq = fields["topic"], fields["publisher"], fields["seq"]
        if not self.outside.take((topic, publisher, seq, fields["stamp_ns"])):
            return None
        source = self.outside.source_of((number, topic, publisher, fields.get("source", 0)))
        return _with_source(changed, source)

    def logged(self, fields: Fields, number: int) -> Fields | None:
        """A line of the log."""
        changed = self._with_tick(fields, number)
        if changed is None or fields["kind"] != "log":
            return changed
        node = str(fields.get("node"))
        return {**changed, "node": self.names[number].get(node, fields.get("node"))}

    def _with_tick(self, fields: Fields, number: int) -> Fields | None:
        tick_of = self.ticks[number]
        new = {key: tick_of(fields[key]) for key in ("tick", "at_tick") if isinstance(fields.get(key), int)}
        return {**fields, **new}

    def _input(self, taken: Fields, number: int) -> Fields:
        """What names a message that was read or seen."""
        publisher = taken.get("publisher")
        if publisher is None:
            return taken
        source = taken.get("source", 0)
        if not source and publisher in self.names[number]:
            return {**taken, "publisher": self.names[number][publisher]}
        stream = number, taken["topic"], publisher, source
        publisher, source = self.outside.read_from(stream, taken.get("seq", 0))
        return _with_source({**taken, "publisher": publisher}, source)


def _with_source(fields: Fields, source: int) -> Fields:
    rest = {key: value for key, value in fields.items() if key != "source"}
    return {**rest, "source": source} if source else rest
