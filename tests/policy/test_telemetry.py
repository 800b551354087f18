"""OpenTelemetry: the span of a request and the line of its trace name each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from horus_async.policy import TraceOptions
from horus_async.policy.server.telemetry import ActSpan, export_as_environment_says
from tests.policy.conftest import needs_server, only_trace, reach, read_all, serving

if TYPE_CHECKING:
    from pathlib import Path

trace = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
in_memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

pytestmark = needs_server


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The spans that were ended, in memory."""
    spans = in_memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return spans


async def test_span_and_line_name_each_other(tmp_path: Path, exporter: Any) -> None:
    """Each request is a span ``act`` with the record's seq and the session; the line has the span's ids."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(reach, trace=TraceOptions(directory=tmp_path), embodiment="arm") as served:
        session = (await served.health())["session_id"]
        await served.act(state=[1.0, 2.0], instruction="pick", episode_id="e")
        await served.client.post("/act", json={"state": [1.0]}, headers={"traceparent": parent})
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["act", "act"]
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    for number, (span, line) in enumerate(zip(spans, lines, strict=True)):
        assert span.attributes["horus.record.seq"] == line["seq"] == number
        assert span.attributes["horus.session_id"] == session
        assert span.attributes["horus.request_id"] == line["request_id"]
        assert line["trace_id"] == f"{span.context.trace_id:032x}"
        assert line["span_id"] == f"{span.context.span_id:016x}"
    attributes = spans[0].attributes
    assert attributes["gen_ai.operation.name"] == "act"
    assert attributes["gen_ai.action.embodiment"] == "arm"
    assert attributes["gen_ai.action.chunk_size"] == 4
    assert attributes["horus.instruction"] == "pick"
    assert attributes["horus.state_dim"] == 2
    assert lines[1]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_failures_mark_the_span(exporter: Any) -> None:
    """A failed request's span has the failure as error.type; without recording it has no seq."""

    def policy(request: dict[str, Any]) -> None:
        raise RuntimeError("no")

    async with serving(policy) as served:
        await served.act()
    (span,) = exporter.get_finished_spans()
    assert span.attributes["error.type"] == "policy-error"
    assert not span.status.is_ok
    assert "horus.record.seq" not in span.attributes


def test_without_a_provider_spans_have_no_ids() -> None:
    """Where nobody records spans there are no ids to write down."""
    assert ActSpan().ids == ("", "")
    assert ActSpan(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)).ids == ("", "")


def test_nothing_is_exported_unless_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an OTLP endpoint in the environment no tracer provider is set."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: pytest.fail("a provider was set"))
    export_as_environment_says()
