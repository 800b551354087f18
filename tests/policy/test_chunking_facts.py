"""What clients that do not wait say of the chunk they play: the policy gets it, and so does the trace's replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from horus_async.policy import ImageMode, ReplayOptions, TraceOptions, TraceReader, from_object, replay_trace
from tests.policy.conftest import needs_server, only_trace, serving
from tests.policy.sockets import openpi

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.policy import Replayed

pytestmark = needs_server
numpy = pytest.importorskip("numpy")
pytest.importorskip("msgpack")

CHUNK = [[0.25, -1.0, 0.5], [0.5, 2.0, 0.125], [1.0, 0.0, 3.0]]


def continues(request: dict[str, Any]) -> dict[str, Any]:
    """A policy that goes on where the chunk before will be."""
    chunk, delay = numpy.asarray(request["prev_chunk"]), int(request["inference_delay"])
    return {"actions": numpy.vstack([chunk[delay:], chunk[:delay] * 2]), "rtc": {"delay": delay}}


@pytest.mark.parametrize("images", ImageMode)
async def test_facts_of_chunking_reach_policy_trace_and_replay(tmp_path: Path, images: ImageMode) -> None:
    """As lists of /act and as arrays of openpi's clients, whatever becomes of images."""
    facts = {"inference_delay": 1, "executed": 2}
    async with serving(continues, trace=TraceOptions(directory=tmp_path, images=images)) as served:
        answer = (await served.act(state=[0.0], prev_chunk=CHUNK, **facts)).json()
        async with openpi(served.url) as (line, _):
            other = await line.ask(prev_chunk=numpy.array(CHUNK, "float32"), **facts)
    expected = [*CHUNK[1:], [0.5, -2.0, 1.0]]
    assert (answer["actions"], answer["rtc"]) == (expected, {"delay": 1})
    assert numpy.array_equal(other["actions"], numpy.array(expected))

    with TraceReader(only_trace(tmp_path)) as trace:
        first, second = trace.requests()
    assert (first.request["prev_chunk"], first.line["rtc"], first.line["cameras"]) == (CHUNK, {"delay": 1}, [])
    assert second.observation()["prev_chunk"].tolist() == CHUNK
    assert (second.request["inference_delay"], second.request["executed"], second.line["cameras"]) == (1, 2, [])

    results: list[Replayed] = []
    with TraceReader(only_trace(tmp_path)) as trace:
        await replay_trace(trace, from_object(continues, name="test"), ReplayOptions(), results.append)
    assert [result.actions is not None and result.actions.passed for result in results] == [True, True]
