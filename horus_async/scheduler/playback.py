"""What a scheduler replays: the part of `Scheduler` that chooses recorded nodes, range, speed and replacements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from horus_async.errors import ConfigurationError, ReplayError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from horus_async.recorder import Session
    from horus_async.replay.options import PlayedFile, ReplayOptions


class Playback:
    """Recorded nodes of a scheduler: those of a whole session, or single ones among live nodes."""

    def __init__(self) -> None:
        self._replay: ReplayOptions | None = None
        self._played: list[PlayedFile] = []

    def add_replay(self, node_file: str | Path, priority: int = 0) -> Self:
        """Let one recorded node play among the live ones; the run goes on until its duration or a stop.

        A live node that has its name, or declares a topic that it sent on, takes its place.

        Args:
            node_file: Its file in a session.
            priority: Its ``order``.

        Raises:
            SessionNotFoundError, DamagedRecordingError, UnsupportedVersionError: It cannot be read.
            ConfigurationError: A recorded node of that name was added already.
            ReplayError: This scheduler replays a whole session.
        """
        from horus_async.replay.options import PlayedFile

        if self._replay is not None:
            raise ReplayError("add_replay() is for a scheduler of live nodes; this one replays a whole session")
        self._play(PlayedFile.open(node_file, priority))
        return self

    def inject(self, session: str | Path | Session, *nodes: str) -> Self:
        """Let recorded nodes of a session play in the place of this scheduler's nodes of those names.

        Unlike with `add_replay` the recorded node wins, and a run without a duration ends with their last tick. A live
        node of another name that sends on the same topics goes on sending.

        Raises:
            SessionNotFoundError, DamagedRecordingError, UnsupportedVersionError: It cannot be read.
            ConfigurationError: A recorded node of that name was added already.
            ReplayError: No such node was recorded, none is named, or this scheduler replays a whole session.
        """
        from horus_async.replay.options import injected

        if self._replay is not None:
            raise ReplayError("inject() is for a scheduler of live nodes; this one replays a whole session")
        for played in injected(session, nodes):
            self._play(played)
        return self

    def _play(self, played: PlayedFile) -> None:
        if any(played.node == other.node for other in self._played):
            raise ConfigurationError(f"a recorded node {played.node!r} was added already: names are unique")
        self._played.append(played)

    def start_at_tick(self, tick: int) -> Self:
        """Replay from this tick on, inclusive."""
        self._replaying("start_at_tick").set_start(tick)
        return self

    def stop_at_tick(self, tick: int) -> Self:
        """Replay up to this tick, inclusive."""
        self._replaying("stop_at_tick").set_stop(tick)
        return self

    def set_replay_speed(self, speed: float) -> Self:
        """1.0 as recorded (default), 0.01 to 100, or ``math.inf`` for as fast as possible."""
        self._replaying("set_replay_speed").set_speed(speed)
        return self

    def loop(self) -> Self:
        """Repeat the range without end; the clock goes back with it."""
        self._replaying("loop").loop = True
        return self

    def only(self, *nodes: str) -> Self:
        """Let only these recorded nodes play."""
        self._replaying("only").set_nodes(nodes)
        return self

    def start_at_time(self, moment: float | str | datetime) -> Self:
        """Replay from the first tick at or after a moment on.

        Args:
            moment: Seconds since the session's first tick, or a time of day as recorded: a `datetime`, or ISO 8601
                text; UTC where no zone is given.

        Raises:
            ReplayError: The session has no tick there.
            RecordingError: It is no moment.
        """
        replay = self._replaying("start_at_time")
        if isinstance(moment, str):
            from horus_async.recorder.view.moments import parse_moment

            moment = parse_moment(moment)
        replay.set_start_time(moment)
        return self

    def only_topics(self, *patterns: str) -> Self:
        """Replay only topics that match one of these patterns (``*``, ``?``, ``[…]``).

        Raises:
            ReplayError: A pattern matches no recorded topic.
        """
        replay = self._replaying("only_topics")
        replay.choice.add_only(patterns, replay.known_topics())
        return self

    def exclude_topics(self, *patterns: str) -> Self:
        """Leave out topics that match one of these patterns.

        Raises:
            ReplayError: A pattern matches no recorded topic.
        """
        replay = self._replaying("exclude_topics")
        replay.choice.add_exclude(patterns, replay.known_topics())
        return self

    def rename_topic(self, topic: str, name: str) -> Self:
        """Replay a topic under another name.

        Raises:
            ReplayError: No such topic was recorded.
            TopicNameError: No topic may have that name.
        """
        replay = self._replaying("rename_topic")
        replay.choice.add_rename(topic, name, replay.known_topics())
        return self

    def skip_gaps(self, longer_than: float = 1.0) -> Self:
        """Wait no longer than that many seconds of recorded time where nothing is replayed. No tick is left out."""
        self._replaying("skip_gaps").set_skip_gaps(longer_than)
        return self

    @property
    def sent_before_start(self) -> dict[str, int]:
        """How many messages from before the start were replayed, by topic: the last of each that was sent once."""
        return dict(self._replaying("sent_before_start").kept)

    @property
    def from_outside(self) -> int:
        """How many messages of other programs, which the recorded run took or `record start` has, were replayed."""
        return self._replaying("from_outside").outside

    @property
    def stamps_changed(self) -> dict[str, int]:
        """How many messages had stamps beyond 64 bits with sign and were replayed with the nearest, by topic."""
        return dict(self._replaying("stamps_changed").stamps_changed)

    @property
    def left_out(self) -> dict[str, int]:
        """How many recorded messages were not replayed because their topics are left out, by topic."""
        return dict(self._replaying("left_out").choice.left_out)

    def set_replay_override(self, node: str, topic: str, value: Any) -> Self:
        """Replace what a recorded node sent on a topic: by a value, or by what a function of the `Message` returns.

        Also for the nodes of `add_replay` and `inject` that were added before.

        Raises:
            ReplayError: There is no such node, or it sent nothing there; the message lists those that are.
        """
        if self._replay is None and self._played:
            from horus_async.replay.options import check_override

            played = {file.node: file for file in self._played}
            file = played.get(node, self._played[0])
            check_override(file.session, played, node, topic, value)
            file.overrides[node, topic] = value
        else:
            self._replaying("set_replay_override").set_override(node, topic, value)
        return self

    def _replaying(self, method: str) -> ReplayOptions:
        if self._replay is None:
            raise ReplayError(
                f"{method}() is for a replay, and this scheduler replays nothing: make it with Scheduler.replay_from()"
            )
        return self._replay
