"""What became of a request, apart from the form in which a client hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field, frozen

from horus_async import __version__
from horus_async.clock.system import perf_ns, wall_ns
from horus_async.policy.model.images.hiding import without_images
from horus_async.policy.model.wire import decoded
from horus_async.policy.trace.format import Exchange, Failure

from .admission.refusal import error_body

if TYPE_CHECKING:
    from horus_async.policy.calls.calling import Call
    from horus_async.policy.model.interface import Answer
    from horus_async.policy.model.loaded import LoadedPolicy
    from horus_async.policy.model.wire import WireFormat

    from .admission.refusal import Refusal

CLIENT_CLOSED = 499


@frozen(kw_only=True)
class Outcome:
    """What became of a request that was put to the policy.

    ``status`` is the one of HTTP. A status of 200 comes with an ``answer``; every other one with a ``failure``, and
    with an answer too where the policy gave actions that cannot be used. ``seq`` is the number of the trace line (None:
    not recorded), ``policy_ms`` the policy's own time.
    """

    status: int
    answer: Answer | None
    failure: Failure | None
    seq: int | None
    policy_ms: float
    request_id: str
    policy: LoadedPolicy

    def described(self) -> dict[str, Any]:
        """What an answer says besides its actions: the policy's blocks and extras, and our own facts, which win."""
        assert self.answer is not None
        said: dict[str, Any] = {
            **self.answer.extras,
            **self.answer.blocks,
            "num_actions": self.answer.num_actions,
            "action_dim": self.answer.action_dim,
            "latency_ms": round(self.policy_ms, 3),
            "request_id": self.request_id,
            "model_hash": self.policy.model_hash,
            "config_hash": self.policy.config_hash,
            "mode": self.answer.mode or self.policy.mode,
            "horus_version": __version__,
        }
        if self.seq is not None:
            said["seq"] = self.seq
        return said

    def as_json(self) -> bytes:
        """The JSON body of an answer."""
        if self.failure is not None:
            return error_body(self.failure.slug, self.failure.message, self.request_id)
        assert self.answer is not None
        body = {**self.described(), "actions": orjson.Fragment(self.answer.actions_json)}
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


@define
class Asked:
    """One request on its way through the policy."""

    body: bytes
    form: WireFormat
    request_id: str
    call: Call
    arrival_ns: int = field(factory=wall_ns)
    arrival_perf_ns: int = field(factory=perf_ns)
    answer: Answer | None = None
    status: int = 200
    failure: Failure | None = None
    client_gone: bool = False
    refusal: Refusal | None = None

    def fail(self, status: int, slug: str, message: str) -> None:
        """The request gets no actions, and this is why: words of ours, without a piece of the request."""
        self.status, self.failure = status, Failure(slug, message)

    def shown(self, message: str) -> str:
        """Words of a policy without the images of the request. This takes seconds where the request is large.

        What UTF-8 lacks in them (file names have it) is escaped.
        """
        return without_images(message.encode(errors="backslashreplace").decode(), self.sent())

    def sent(self) -> Any:
        """The request as it was sent, whatever the policy has done to the observation."""
        return decoded(self.body, self.form)

    @property
    def open(self) -> bool:
        """Whether nothing has become of it yet."""
        return self.answer is None and self.failure is None and self.refusal is None

    def exchange(self, policy: LoadedPolicy, trace_id: str, span_id: str) -> Exchange:
        """What the recorder gets, of a request that reached the policy."""
        started_ns = self.call.started_ns
        assert started_ns is not None
        return Exchange(
            body=self.body,
            form=self.form,
            arrival_ns=self.arrival_ns,
            finished_ns=wall_ns(),
            request_id=self.request_id,
            status=self.status,
            policy_ms=self.call.policy_ms,
            queue_ms=(started_ns - self.arrival_perf_ns) / 1e6,
            mode=policy.mode,
            answer=self.answer,
            failure=self.failure,
            trace_id=trace_id,
            span_id=span_id,
            episode_id=self.call.episode_id,
            reset=self.call.was_reset,
        )

    def outcome(self, policy: LoadedPolicy, seq: int | None) -> Outcome:
        """What became of it, once that is known."""
        return Outcome(
            status=self.status,
            answer=self.answer,
            failure=self.failure,
            seq=seq,
            policy_ms=self.call.policy_ms,
            request_id=self.request_id,
            policy=policy,
        )
