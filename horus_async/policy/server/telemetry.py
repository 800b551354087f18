"""OpenTelemetry: one span ``act`` per request if the API is installed, nothing at all if not.

Span and trace line refer to each other: the span carries ``horus.record.seq`` and ``horus.session_id``, the line
``trace_id`` and ``span_id``. A client's ``traceparent`` header becomes the parent. The program that runs the server
decides where spans go; ``horus-async serve`` sends them to ``OTEL_EXPORTER_OTLP_ENDPOINT`` if that is set.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from horus_async.errors import ConfigurationError
from horus_async.hints.installed import install

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INSTALLED = importlib.util.find_spec("opentelemetry") is not None
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class ActSpan:
    """The span of one request; without OpenTelemetry it does nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span if span is not None and span.is_recording() else None

    def set(self, **attributes: Any) -> None:
        """Set attributes. ``__`` in a name stands for a dot; None leaves an attribute out."""
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(name.replace("__", "."), value)

    def failed(self, slug: str, message: str) -> None:
        """Mark the span as failed."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_attribute("error.type", slug)
            self._span.set_status(Status(StatusCode.ERROR, message))

    @property
    def ids(self) -> tuple[str, str]:
        """Trace id and span id, 32 and 16 hex digits; empty if there is no recorded span."""
        if self._span is None:
            return "", ""
        context = self._span.get_span_context()
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"


@contextmanager
def act_span(headers: Mapping[str, str]) -> Iterator[ActSpan]:
    """The span of one request, current while it runs."""
    if not INSTALLED:
        yield ActSpan()
        return
    from opentelemetry import propagate, trace

    tracer = trace.get_tracer("horus_async.policy")
    parent = propagate.extract(headers) if "traceparent" in headers else None
    with tracer.start_as_current_span("act", context=parent, kind=trace.SpanKind.SERVER) as span:
        yield ActSpan(span)


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
