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


async def test_without_an_endpoint_the_trace_has_ids_all_the_same(tmp_path: Path) -> None:
    """Installed, and with no provider set up: each line has ids of its own, in the client's trace where it sent one."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(reach, trace=TraceOptions(directory=tmp_path)) as served:
        for headers in ({}, {}, {"traceparent": parent}):
            await served.client.post("/act", json={"state": [1.0]}, headers=headers)
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    traces, spans = [line["trace_id"] for line in lines], {line["span_id"] for line in lines}
    assert all(len(trace_id) == 32 and int(trace_id, 16) for trace_id in traces)
    assert len(set(traces)) == len(spans) == 3
    assert traces[2] == "0af7651916cd43dd8448eb211c80319c"
    assert all(len(span_id) == 16 and int(span_id, 16) for span_id in spans)
    assert "b7ad6b7169203331" not in spans


def test_a_span_that_is_not_sampled_keeps_its_ids() -> None:
    """A provider that samples nothing still gives ids, and these are the line's."""
    sampling = pytest.importorskip("opentelemetry.sdk.trace.sampling")
    span = sdk.TracerProvider(sampler=sampling.ALWAYS_OFF).get_tracer("test").start_span("act")
    context = span.get_span_context()
    assert ActSpan(span).ids == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


async def test_a_policy_in_its_own_event_loop_sees_the_span(exporter: Any) -> None:
    """Spans that a coroutine policy starts are children of the request's."""
    seen = []

    async def policy(request: dict[str, Any]) -> list[list[float]]:
        seen.append(trace.get_current_span().get_span_context().span_id)
        return [[1.0]]

    async with serving(policy) as served:
        await served.act()
    (span,) = exporter.get_finished_spans()
    assert seen == [span.context.span_id]


def test_nothing_is_exported_unless_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an OTLP endpoint in the environment no tracer provider is set."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: pytest.fail("a provider was set"))
    export_as_environment_says()
