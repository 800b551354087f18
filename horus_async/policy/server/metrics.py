"""What ``GET /metrics`` shows, in the Prometheus text format. Labels are bounded: HTTP statuses and failure slugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from horus_async.recording_state import RecordingState

from .condition import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from .condition import Condition

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self, condition: Condition) -> None:
        """``condition`` is looked at in each scrape."""
        self.registry = CollectorRegistry()
        latency, policy = "Seconds from a request's arrival to its answer", "Seconds the policy took"
        self.requests = Counter(
            "horus_act_requests", "Answers of /act and of WebSockets", ["status"], registry=self.registry
        )
        self.failures = Counter("horus_policy_failures", "Failures of the policy", ["slug"], registry=self.registry)
        self.connections = Gauge("horus_websocket_connections", "Open WebSockets", registry=self.registry)
        self.latency = Histogram("horus_act_latency_seconds", latency, buckets=_BUCKETS, registry=self.registry)
        self.policy = Histogram("horus_policy_latency_seconds", policy, buckets=_BUCKETS, registry=self.registry)
        self.registry.register(_Scraped(condition))

    def text(self) -> bytes:
        """All metrics in the text format."""
        return generate_latest(self.registry)


class _Scraped(Collector):
    """Numbers that are kept elsewhere and only read at a scrape."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def collect(self) -> Iterator[Metric]:
        now = self._condition
        state = now.state
        yield GaugeMetricFamily("horus_server_ready", "1 while requests are served", value=state is ServerState.READY)
        states = GaugeMetricFamily("horus_server_state", "1 for the state that /health shows", labels=["state"])
        for each in ServerState:
            states.add_metric([each.value], float(state is each))
        yield states
        yield GaugeMetricFamily("horus_act_running", "Calls the policy works on", value=now.running)
        yield GaugeMetricFamily("horus_act_queued", "Requests that wait for the policy", value=now.queued)
        yield GaugeMetricFamily("horus_act_stuck", "Calls that are over their time and go on", value=now.stuck)
        forgotten = now.caller.episodes.forgotten if now.caller else 0
        yield CounterMetricFamily("horus_episodes_forgotten", "Episodes beyond those remembered", value=forgotten)
        stats = now.recording()
        on = stats is not None and stats.state is RecordingState.ON
        yield GaugeMetricFamily("horus_trace_recording", "1 while requests are recorded", value=on)
        totals = (stats.dropped, stats.records, stats.bytes) if stats else (0, 0, 0)
        yield CounterMetricFamily("horus_trace_dropped", "Requests that could not be recorded", value=totals[0])
        yield CounterMetricFamily("horus_trace_records", "Requests written to the trace", value=totals[1])
        yield CounterMetricFamily("horus_trace_bytes", "Bytes written to the trace", value=totals[2])
