"""OpenTelemetry: one span ``act`` per request if the API is installed, nothing at all if not.

Span and trace line refer to each other: the span carries ``horus.record.seq`` and ``horus.session_id``, the line
``trace_id`` and ``span_id``. A client's ``traceparent`` header becomes the parent. The program that runs the server
decides where spans go; ``horus-async serve`` sends them to ``OTEL_EXPORTER_OTLP_ENDPOINT`` if that is set.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from horus_async.errors import ConfigurationError
from horus_async.hints.installed import install
from horus_async.policy.model.images.hiding import without_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from horus_async.policy.model.interface import Observation
    from horus_async.policy.model.loaded import LoadedPolicy

logger = logging.getLogger("horus_async.policy")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_INSTRUCTION_LENGTH = 512


def _installed() -> bool:
    """Whether the API is there; a folder of that name is not enough, and half of it is said."""
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return False
    # Packages of different versions, or without their entry points, fail in ways of their own.
    except Exception as error:  # noqa: BLE001
        logger.warning("otel-unusable: requests get no spans: %s: %s", type(error).__name__, error)
        return False
    return hasattr(propagate, "extract") and hasattr(trace, "get_tracer")


INSTALLED = _installed()


class ActSpan:
    """The span of one request; without OpenTelemetry it does nothing.

    Where the span is not recorded, as no provider is set up, its ids are made here, so that the trace has some:
    ``trace_id`` is that of the client then, if it sent one.
    """

    def __init__(self, span: Any = None, *, trace_id: int = 0, parent_id: int = 0) -> None:
        self._span = span if span is not None and span.is_recording() else None
        self._ids = ("", "")
        if span is not None:
            context = span.get_span_context()
            # A span that is not recorded may bear the ids of its parent, which are not its own.
            own = context.is_valid and context.span_id != parent_id
            found = context.trace_id if own else trace_id or secrets.randbits(128)
            self._ids = f"{found:032x}", f"{context.span_id if own else secrets.randbits(64):016x}"

    def set(self, **attributes: Any) -> None:
        """Set attributes. ``__`` in a name stands for a dot; None leaves an attribute out."""
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(name.replace("__", "."), value)

    def describe(self, policy: LoadedPolicy, observation: Observation, request_id: str) -> None:
        """Say what was asked of which policy."""
        if self._span is None:
            return
        state, image = observation["state"], observation["image"]
        self.set(
            gen_ai__operation__name="act",
            gen_ai__request__model=policy.export_dir or policy.name,
            gen_ai__action__embodiment=policy.embodiment,
            horus__request_id=request_id,
            horus__episode_id=observation["episode_id"],
            horus__instruction=without_images(observation["instruction"], None)[:_INSTRUCTION_LENGTH],
            horus__state_dim=len(state) if hasattr(state, "__len__") else None,
            horus__image_bytes=len(image) if isinstance(image, str) else None,
        )

    def failed(self, slug: str, message: str) -> None:
        """Mark the span as failed."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_attribute("error.type", slug)
            self._span.set_status(Status(StatusCode.ERROR, message))

    @property
    def ids(self) -> tuple[str, str]:
        """Trace id and span id, 32 and 16 hex digits; empty without OpenTelemetry."""
        return self._ids


@contextmanager
def act_span(headers: Mapping[str, str]) -> Iterator[ActSpan]:
    """The span of one request, current while it runs."""
    if not INSTALLED:
        yield ActSpan()
        return
    from opentelemetry import propagate, trace

    tracer = trace.get_tracer("horus_async.policy")
    parent = propagate.extract(headers) if "traceparent" in headers else None
    above = trace.get_current_span(parent).get_span_context()
    with tracer.start_as_current_span("act", context=parent, kind=trace.SpanKind.SERVER) as span:
        yield ActSpan(span, trace_id=above.trace_id, parent_id=above.span_id)


def export_as_environment_says() -> None:
    """Send spans to the OTLP endpoint that the environment names, if any.

    Raises:
        ConfigurationError: it names one, but the extra ``otel`` is not installed.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError(f"{_ENDPOINTS[0]} is set, and packages are missing: {install('otel')}") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "horus-async"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
