"""How a server is doing: its state, and what ``/health``, ``/config`` and ``/metrics`` say of it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen, validators

from horus_async import __version__
from horus_async.policy.model.wire import WireFormat
from horus_async.recording_state import RecordingState

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

    from horus_async.policy.calls.calling import Call, PolicyCaller
    from horus_async.policy.model.loaded import LoadedPolicy
    from horus_async.policy.trace.recorder import RecorderStats, TraceOptions, TraceRecorder


class ServerState(enum.Enum):
    """The state of a server; ``/health`` answers 200 only in ``ready``."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DEGRADED = "degraded"
    STUCK = "stuck"
    BLOCKED = "blocked"
    STOPPING = "stopping"


@frozen(kw_only=True)
class ServiceOptions:
    """How requests are served.

    ``queue_limit`` requests may wait for the policy. Waiting and the policy's work together may take
    ``request_timeout`` seconds. After ``degraded_after`` failures of the policy in a row the server is degraded.
    ``embodiment`` overrides the policy's.
    """

    queue_limit: int = field(default=256, validator=validators.ge(0))
    request_timeout: float = field(default=30.0, validator=validators.gt(0))
    degraded_after: int = field(default=5, validator=validators.ge(1))
    embodiment: str | None = None
    trace: TraceOptions | None = None


@define
class Condition:
    """How the service is doing. ``asked`` are the calls of requests that have no answer yet, each with its scope."""

    options: ServiceOptions
    policy: LoadedPolicy | None = None
    caller: PolicyCaller | None = None
    recorder: TraceRecorder | None = None
    warm: bool = False
    stopping: bool = False
    consecutive_failures: int = 0
    asked: dict[Call, trio.CancelScope] = field(factory=dict)
    last_answer: tuple[int, int] | None = None

    @property
    def state(self) -> ServerState:
        """The state that ``/health`` shows; the gravest that holds."""
        if self.stopping:
            return ServerState.STOPPING
        if not self.warm or self.caller is None:
            return ServerState.LOADING if self.policy is None else ServerState.WARMING
        if self.caller.blocked:
            return ServerState.BLOCKED
        if self.caller.places.stuck:
            return ServerState.STUCK
        degraded = self.consecutive_failures >= self.options.degraded_after
        return ServerState.DEGRADED if degraded else ServerState.READY

    @property
    def running(self) -> int:
        """How many calls the policy works on, those included that nobody waits for any more."""
        return self.caller.places.taken if self.caller else 0

    @property
    def queued(self) -> int:
        """How many requests wait for the policy."""
        return sum(1 for _ in self.unplaced())

    def unplaced(self) -> Iterator[trio.CancelScope]:
        """The scopes of the requests that wait for the policy."""
        if self.caller is not None:
            yield from (scope for call, scope in self.asked.items() if call not in self.caller.places)

    @property
    def full(self) -> bool:
        """Whether as many requests wait as may."""
        # The calls are counted one by one only where there are enough of them.
        if self.caller is None or len(self.asked) < self.options.queue_limit:
            return False
        return self.queued + self.running >= self.caller.places.total + self.options.queue_limit

    @property
    def stuck(self) -> int:
        """How many calls are over their time, and still hold a place."""
        return self.caller.places.stuck if self.caller and self.warm else 0

    def recording(self) -> RecorderStats | None:
        """The recorder's state; None if nothing is recorded."""
        return self.recorder.stats() if self.recorder else None

    def health(self) -> tuple[int, dict[str, Any]]:
        """The HTTP status and body of ``/health``."""
        state, policy, stats = self.state, self.policy, self.recording()
        recording = {"state": RecordingState.OFF.value, "dropped": 0}
        if stats is not None:
            recording = {"state": stats.state.value, "dropped": stats.dropped}
        ready = state is ServerState.READY
        return 200 if ready else 503, {
            "status": "ok" if ready else "unavailable",
            "state": state.value,
            "model_loaded": self.warm,
            "model_hash": policy.model_hash if policy else "",
            "config_hash": policy.config_hash if policy else "",
            "embodiment": policy.embodiment if policy else None,
            "session_id": self.recorder.session_id if self.recorder else None,
            "recording": recording,
            "consecutive_failures": self.consecutive_failures,
            "running": self.running,
            "queued": self.queued,
            "stuck": self.stuck,
            "episodes": self._episodes(),
            "horus_version": __version__,
        }

    def config(self, limits: dict[str, Any]) -> dict[str, Any]:
        """The body of ``/config``: which policy this is, what it takes, and its limits. No secrets."""
        policy = self.policy
        num_actions, action_dim = self.last_answer or (None, None)
        episodes = self._episodes()
        return {
            "model_hash": policy.model_hash if policy else "",
            "config_hash": policy.config_hash if policy else "",
            "model_type": policy.model_type if policy else "",
            "export_kind": policy.export_kind if policy else "",
            "embodiment": policy.embodiment if policy else None,
            "mode": policy.mode if policy else "",
            "num_actions": num_actions,
            "action_dim": action_dim,
            "episodes": episodes["mode"] if episodes else None,
            "wire": [form.value for form in WireFormat],
            "limits": {
                "concurrency": policy.concurrency if policy else None,
                "queue": self.options.queue_limit,
                "timeout_s": self.options.request_timeout,
                **limits,
            },
            "horus_version": __version__,
        }

    def _episodes(self) -> dict[str, Any] | None:
        if self.caller is None:
            return None
        episodes = self.caller.episodes
        return {"mode": episodes.mode.value, "known": episodes.known, "forgotten": episodes.forgotten}
