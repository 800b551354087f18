"""One request of a v1 policy trace: its line, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.clock.system import parse_iso_utc
from horus_async.errors import TraceError
from horus_async.policy.model.wire import WireFormat

from .format import CAMERA_SUFFIXES, SCHEMA_VERSION
from .redaction import Restoring

if TYPE_CHECKING:
    from collections.abc import Callable

_FIELDS: dict[str, type] = {"seq": int, "request": dict, "response": dict, "latency": dict}


@frozen
class TraceRequest:
    """One request line: ``line`` is all of it, the other fields are its parts."""

    line: dict[str, Any] = field(repr=False)
    seq: int
    request: dict[str, Any] = field(repr=False)
    actions: list[Any] = field(repr=False)
    latency_ms: float | None
    error: dict[str, Any] | None

    @property
    def ok(self) -> bool:
        """Whether the request was answered with actions."""
        return self.error is None

    @property
    def status(self) -> int | None:
        """The HTTP status; None if the trace has none."""
        status = self.line.get("status")
        return status if isinstance(status, int) else None

    @property
    def timestamp_ns(self) -> int | None:
        """Wall-clock nanoseconds of the answer; None if the trace has no readable time."""
        try:
            return parse_iso_utc(self.line["timestamp"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    @property
    def episode(self) -> str | None:
        """The client's name for the episode."""
        episode = self.line.get("episode_id") or self.request.get("episode_id")
        return episode if isinstance(episode, str) else None

    @property
    def instruction(self) -> str:
        """The instruction."""
        return str(self.request.get("instruction") or "")

    @property
    def cache_status(self) -> str | None:
        """The status of the policy's cache; None if it reported none."""
        cache = self.line.get("cache")
        status = cache.get("status") if isinstance(cache, dict) else None
        return None if status is None else str(status)

    def cameras(self) -> dict[str, tuple[str | None, str | None]]:
        """Each camera of which the trace kept something: its base64 text and its hash, each None if missing.

        ``images`` also has those that were sent in another form than as text.
        """
        _, restoring = self.restored()
        kept = {name: text for name, text in restoring.images.items() if isinstance(text, str)}
        found = {name: (text, self._v1_camera(name)[1]) for name, text in kept.items()}
        return {**found, **{name: (None, digest) for name, digest in restoring.missing.items() if digest is not None}}

    def images(self) -> dict[str, Any]:
        """The images that the trace kept, by their paths, as they were sent: base64 text, bytes, arrays or lists."""
        return self.restored()[1].images

    def lacking(self) -> list[str]:
        """Cameras that the request had but of which the trace kept nothing (image mode ``none``)."""
        return [name for name, digest in self.restored()[1].missing.items() if digest is None]

    def observation(self) -> dict[str, Any]:
        """The observation as the policy saw it, without cameras that the trace did not keep in full.

        Raises:
            TraceError: something in the request is damaged, or an array is in it and NumPy is not installed.
        """
        return self.restored()[0]

    def restored(self, find: Callable[[dict[str, Any]], Any] = lambda _: None) -> tuple[dict[str, Any], Restoring]:
        """The observation, and which images it has and lacks.

        Args:
            find: Gives the image for a marker ``{"$image": hash, …}`` that the trace has in its place, or None.

        Raises:
            TraceError: as for ``observation``.
        """
        paths = self._paths
        names = [name for name in self._v1_names() if paths is None or name in paths]
        hidden = {f"{name}{suffix}" for name in names for suffix in CAMERA_SUFFIXES}
        if self.line.get("wire") == WireFormat.MSGPACK.value:
            hidden |= {"instruction", "state"}
        kept = {name: value for name, value in self.request.items() if name not in hidden}
        restoring = Restoring(paths or (), find)
        sent = kept if paths is None else restoring.fields(kept)
        for name in names:
            if (text := restoring.camera(name, *self._v1_camera(name))) is not None:
                sent[name] = text
        for name in paths or ():
            restoring.lacks(name)
        observation = {"instruction": "", "state": None, "image": None, "episode_id": None, **sent}
        observation["instruction"] = observation["instruction"] or self.instruction
        return observation, restoring

    @property
    def _paths(self) -> list[str] | None:
        """Where the request had images; None if the line is of a server that does not say it."""
        paths = self.line.get("cameras")
        return [str(path) for path in paths] if isinstance(paths, list) else None

    def _v1_names(self) -> list[str]:
        """The cameras that are kept in the form of v1."""
        keys = [key for key, value in self.request.items() if key.endswith(CAMERA_SUFFIXES) and isinstance(value, str)]
        names = [key.rpartition("_")[0] for key in keys]
        return list(dict.fromkeys(name for name in names if name and not name.startswith("$")))

    def _v1_camera(self, name: str) -> tuple[str | None, str | None]:
        text, digest = (self.request.get(f"{name}{suffix}") for suffix in CAMERA_SUFFIXES)
        return text if isinstance(text, str) else None, digest if isinstance(digest, str) else None


def _is_number(value: float) -> bool:
    try:
        float(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
    return True


def request_of(line: dict[str, Any], place: str) -> TraceRequest:
    """The request in a line; ``place`` names it in errors.

    Raises:
        TraceError: an unknown schema version, or a part of the wrong type.
    """
    version = line.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise TraceError(f"{place}: unknown schema version {version!r}; this release reads {SCHEMA_VERSION}")
    for name, kind in _FIELDS.items():
        if not isinstance(line.get(name), kind | None):
            raise TraceError(f"{place}: {name!r} is a {type(line[name]).__name__}")
    if line.get("seq") is None or isinstance(line["seq"], bool):
        raise TraceError(f"{place}: a request without a seq")
    if not -(2**63) <= line["seq"] < 2**63:
        raise TraceError(f"{place}: a seq beyond 64 bits")
    actions = (line.get("response") or {}).get("actions") or []
    latency = (line.get("latency") or {}).get("total_ms")
    error = line.get("error")
    if not isinstance(actions, list) or not isinstance(latency, int | float | None) or not _is_number(latency or 0):
        raise TraceError(f"{place}: actions or latency of the wrong type")
    if error is not None and not isinstance(error, dict):
        error = {"slug": "error", "message": str(error)}
    return TraceRequest(line, line["seq"], line.get("request") or {}, actions, latency, error)
