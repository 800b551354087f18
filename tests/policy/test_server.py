"""The policy server over real HTTP: answers, refusals, states, and what the trace keeps of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio

from horus_async.errors import ConfigurationError, PolicyError
from horus_async.policy import ImageMode, ObservationError, TraceOptions, from_object, image_hash
from tests.policy.conftest import needs_server, only_trace, reach, read_all, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_server

IMAGE = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


async def test_act_answers_with_actions() -> None:
    """A request gets the policy's actions, their shape, the latency, and its own id back."""
    async with serving(reach) as served:
        response = await served.client.post("/act", json={"state": [1.0, 2.0]}, headers={"X-Request-ID": "mine-1"})
    body = response.json()
    assert response.status_code == 200
    assert body["actions"] == reach({"state": [1.0, 2.0]})
    assert (body["num_actions"], body["action_dim"]) == (4, 2)
    assert body["latency_ms"] >= 0
    assert body["request_id"] == response.headers["X-Request-ID"] == "mine-1"


async def test_the_policy_sees_every_field() -> None:
    """The policy gets what was sent, and None or an empty text for the known fields that were not."""
    seen: list[dict[str, Any]] = []

    def policy(request: dict[str, Any]) -> list[list[float]]:
        seen.append(request)
        return [[1.0]]

    async with serving(policy) as served:
        await served.act(gripper=[1, 2], image_wrist=IMAGE)
        await served.act(instruction=None, state=None)
    known = {"instruction": "", "state": None, "image": None, "episode_id": None}
    assert seen == [{**known, "gripper": [1, 2], "image_wrist": IMAGE}, known]


async def _coroutine(request: dict[str, Any]) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {"actions": reach(request), "cache": {"status": "hit"}, "confidence": 0.5}


async def test_coroutine_policies_and_blocks() -> None:
    """A coroutine function is awaited, and the cache status and further fields of its answer come through."""
    async with serving(_coroutine) as served:
        body = (await served.act(state=[1.0])).json()
    assert body["cache"] == {"status": "hit"}
    assert body["confidence"] == 0.5


class _Unspeakable(Exception):  # noqa: N818 - as users name theirs
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "message"),
    [(_Unspeakable(), "_Unspeakable"), (ValueError("no file 'a\udcff'"), "ValueError: no file 'a\\udcff'")],
    ids=["its text raises", "its text is not UTF-8"],
)
async def test_an_exception_that_cannot_be_shown_is_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, message: str
) -> None:
    """Whatever a policy raises is the answer of its request, its line, and in the log, also where its text is none."""

    def policy(request: dict[str, Any]) -> list[list[float]]:
        if request["instruction"] == "raise":
            raise error
        return [[1.0]]

    async with serving(policy, trace=TraceOptions(directory=tmp_path)) as served:
        failed, fine = await served.act(instruction="raise", state=[1.5]), await served.act()
    assert (failed.status_code, failed.json()["error"], failed.json()["message"]) == (500, "policy-error", message)
    assert fine.status_code == 200
    first, second = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    assert (first["status"], first["error"]) == (500, {"slug": "policy-error", "message": message})
    assert first["request"] == {"instruction": "raise", "state": [1.5]}
    assert second["status"] == 200
    caplog.text.encode()
    assert message in caplog.text


async def test_every_outcome_is_recorded(tmp_path: Path) -> None:
    """Answers, exceptions, bad observations and NaN are lines of one trace, numbered without gaps, in strict JSON."""

    def policy(request: dict[str, Any]) -> list[list[float]]:
        match request["instruction"]:
            case "raise":
                raise RuntimeError("no gripper")
            case "nan":
                return [[float("nan"), 1.0]]
            case "missing":
                raise ObservationError("needs 'state'")
        return [[1.0]]

    async with serving(policy, trace=TraceOptions(directory=tmp_path, compress=False)) as served:
        answers = [await served.act(instruction=text) for text in ("fine", "raise", "nan", "missing", "fine")]
        await served.client.post("/act", content=b"{")
    assert [answer.status_code for answer in answers] == [200, 500, 500, 422, 200]
    slugs = [answer.json().get("error") for answer in answers]
    assert slugs == [None, "policy-error", "non-finite-actions", "bad-observation", None]
    path = only_trace(tmp_path)
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["kind"] for line in lines] == ["header"] + 5 * ["request"] + ["footer"]
    assert all(line["schema_version"] == 1 for line in lines)
    requests = lines[1:-1]
    assert [line["seq"] for line in requests] == [line["chunk_id"] for line in requests] == [0, 1, 2, 3, 4]
    assert [line["status"] for line in requests] == [200, 500, 500, 422, 200]
    assert [line.get("error", {}).get("slug") for line in requests] == slugs
    assert requests[1]["error"]["message"] == "RuntimeError: no gripper"
    assert requests[2]["response"]["actions"] == [[{"$float": "nan"}, 1.0]]
    assert (lines[-1]["total_requests"], lines[-1]["dropped"]) == (5, 0)


async def test_a_line_holds_what_the_v1_format_promises(tmp_path: Path) -> None:
    """Header and request lines have the v1 fields, and ours for correlation."""
    trace = TraceOptions(directory=tmp_path)
    async with serving(reach, trace=trace, embodiment="arm") as served:
        health = await served.health()
        body = (await served.act(instruction="pick", state=[1, 2.5], episode_id="e1", image=IMAGE)).json()
    path = only_trace(tmp_path)
    reader = read_all(path)
    (line,) = reader.lines  # type: ignore[attr-defined]
    assert path.name.endswith(f"-unknownhash-{health['session_id']}.jsonl.gz")
    header = {"kind", "schema_version", "session_id", "started_at", "model_hash", "config_hash", "export_dir"}
    header |= {"model_type", "export_kind", "embodiment", "hardware", "providers", "sample_rate", "redaction", "notes"}
    assert header | {"horus_version"} <= set(reader.header)
    assert reader.header["embodiment"] == "arm"
    assert reader.header["redaction"] == {"image": "hash_only", "instruction": "full"}
    request = {"instruction": "pick", "state": [1, 2.5], "episode_id": "e1", "image_sha256": image_hash(IMAGE)}
    assert line["request"] == request
    assert line["response"] == {"actions": body["actions"], "num_actions": 4, "action_dim": 2}
    assert line["latency"]["total_ms"] == body["latency_ms"]
    assert (line["request_id"], line["episode_id"], line["seq"]) == (body["request_id"], "e1", body["seq"])
    assert {"timestamp", "arrival_ns", "denoise", "mode", "vlm_conditioning"} <= set(line)
    assert reader.notes == []


HASHES = {"image_sha256": image_hash(IMAGE), "wrist_sha256": image_hash(IMAGE)}


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        (ImageMode.FULL, {"image_b64": IMAGE, "wrist_b64": IMAGE, **HASHES}),
        (ImageMode.HASH_ONLY, HASHES),
        (ImageMode.NONE, {}),
    ],
    ids=["full", "hash_only", "none"],
)
async def test_image_modes_hold_for_every_camera(tmp_path: Path, mode: ImageMode, kept: dict[str, str]) -> None:
    """Each camera is kept in full, as its hash, or not at all, and no mode leaks an image."""
    async with serving(reach, trace=TraceOptions(directory=tmp_path, images=mode)) as served:
        await served.act(image=IMAGE, wrist=IMAGE, camera_id="left")
    (line,) = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    assert line["request"] == {"instruction": "", "state": None, "camera_id": "left", **kept}
    assert line["cameras"] == ["image", "wrist"]


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"", 400, "bad-json"),
        (b"{", 400, "bad-json"),
        (b'{"state":[NaN]}', 400, "bad-json"),
        (b'"\xff"', 400, "bad-json"),
        (b"[]", 422, "bad-request"),
        (b"3", 422, "bad-request"),
        (b'{"state":"x"}', 422, "bad-request"),
        (b'{"state":[true]}', 422, "bad-request"),
        (b'{"state":[[1]]}', 422, "bad-request"),
        (b'{"instruction":3}', 422, "bad-request"),
        (b'{"image":{}}', 422, "bad-request"),
        (b'{"episode_id":7}', 422, "bad-request"),
        (b'{"x":' + 300 * b"[" + 300 * b"]" + b"}", 422, "bad-request"),
        (b'{"x":"' + 2 * 1024 * 1024 * b"a" + b'"}', 413, "body-too-large"),
    ],
)
async def test_malformed_bodies_are_refused(body: bytes, status: int, slug: str) -> None:
    """A body that is no observation gets a client error with a JSON body, and never reaches the policy."""
    called = []

    def policy(request: dict[str, Any]) -> list[list[float]]:
        called.append(request)
        return [[1.0]]

    async with serving(policy, max_body_mb=1) as served:
        response = await served.client.post("/act", content=body)
    assert (response.status_code, response.json()["error"]) == (status, slug)
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    assert called == []


async def test_a_huge_body_without_a_length_is_refused() -> None:
    """A chunked body is cut off at the limit too, and the server goes on."""

    async def chunks() -> Any:
        for _ in range(40):
            yield 65536 * b"x"

    async with serving(reach, max_body_mb=1) as served:
        response = await served.client.post("/act", content=chunks())
        assert response.status_code == 413
        assert (await served.act(state=[1.0])).status_code == 200


async def test_only_who_knows_the_key_may_ask() -> None:
    """With an API key /act wants it as a bearer token; health and metrics stay open."""
    async with serving(reach, api_key="secret-ä") as served:
        for sent in (None, "Bearer wrong", "Bearer", "Basic secret-ä", "secret-ä"):
            headers = {"Authorization": sent.encode()} if sent else {}
            response = await served.client.post("/act", content=b"{}", headers=headers)  # type: ignore[arg-type]
            assert (response.status_code, response.json()["error"]) == (401, "unauthorized")
        assert (await served.client.get("/health")).status_code == 200
        assert (await served.client.get("/metrics")).status_code == 200
    async with serving(reach, api_key="secret") as served:
        headers = {"Authorization": "Bearer secret"}  # type: ignore[dict-item]
        assert (await served.client.post("/act", content=b"{}", headers=headers)).status_code == 200  # type: ignore[arg-type]


async def test_unknown_paths_and_methods_have_json_bodies() -> None:
    """404 and 405 are JSON like every other error."""
    async with serving(reach) as served:
        missing, method = await served.client.get("/nothing"), await served.client.get("/act")
    assert (missing.status_code, missing.json()["error"]) == (404, "not-found")
    assert (method.status_code, method.json()["error"]) == (405, "method-not-allowed")
    assert "POST" in method.headers["Allow"]


async def test_health_is_503_until_the_policy_is_warm() -> None:
    """While the policy warms up, /health and /act answer 503; afterwards 200."""
    warm = threading.Event()

    class Policy:
        async def warm_up(self) -> None:
            await trio.to_thread.run_sync(warm.wait, 300)

        async def act(self, observation: dict[str, Any]) -> list[list[float]]:
            return [[1.0]]

    async with serving(Policy, warm=False) as served:
        await served.until(lambda health: health["state"] == "warming")
        assert (await served.client.get("/health")).status_code == 503
        refused = await served.act()
        assert (refused.status_code, refused.json()["error"]) == (503, "not-ready")
        assert refused.headers["Retry-After"] == "1"
        warm.set()
        await served.until(lambda health: health["state"] == "ready")
        assert (await served.client.get("/health")).status_code == 200
        assert (await served.act()).status_code == 200


async def test_failures_in_a_row_degrade_the_server_until_a_success() -> None:
    """After enough failures in a row /health says degraded with 503, requests are still tried, one success heals."""

    def policy(request: dict[str, Any]) -> list[list[float]]:
        if request["instruction"] == "fail":
            raise RuntimeError("stuck")
        return [[1.0]]

    async with serving(policy, degraded_after=2) as served:
        for _ in range(2):
            assert (await served.client.get("/health")).status_code == 200
            await served.act(instruction="fail")
        response = await served.client.get("/health")
        assert (response.status_code, response.json()["state"]) == (503, "degraded")
        assert (await served.act()).status_code == 200
        assert (await served.health())["state"] == "ready"


async def test_episodes_are_announced_once() -> None:
    """reset() is called before the first observation of each episode; one that is over is refused."""
    calls: list[str] = []

    class Policy:
        def reset(self, episode: str) -> None:
            calls.append(f"reset {episode}")

        def act(self, observation: dict[str, Any]) -> list[list[float]]:
            calls.append("act")
            return [[1.0]]

    async with serving(Policy) as served:
        statuses = [(await served.act(episode_id=name)).status_code for name in (None, "a", "a", "b", "a", None, "b")]
    assert calls == ["act", "reset a", "act", "act", "reset b", "act", "reset ", "act"]
    assert statuses == [200, 200, 200, 200, 409, 200, 409]


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    """/metrics parses as Prometheus text and counts answers by status and what was recorded."""
    parser = pytest.importorskip("prometheus_client.parser")
    async with serving(reach, trace=TraceOptions(directory=tmp_path)) as served:
        await served.act(state=[1.0])
        await served.client.post("/act", content=b"{")
        text = (await served.client.get("/metrics")).text
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert found["horus_act_requests_total", "200"] == found["horus_act_requests_total", "400"] == 1
    assert found["horus_trace_recording",] == 1
    assert found["horus_trace_dropped_total",] == 0
    assert found["horus_server_ready",] == 1
    assert found["horus_act_latency_seconds_count",] == 2


async def test_without_recording_health_and_metrics_say_off() -> None:
    """A server without --record reports recording off."""
    async with serving(reach) as served:
        assert (await served.health())["recording"] == {"state": "off", "dropped": 0}
        assert "horus_trace_recording 0.0" in (await served.client.get("/metrics")).text


async def test_a_policy_that_does_not_load_ends_the_server(policy_module: Callable[[str], str]) -> None:
    """When loading or warming up fails, serving ends with PolicyError."""
    broken = policy_module("class policy:\n def act(self, o): return [[1]]\n def warm_up(self): 1 / 0")
    for policy in ("nowhere:policy", broken):
        with pytest.RaisesGroup(PolicyError, allow_unwrapped=True, flatten_subgroups=True):
            async with serving(policy, warm=False) as served:
                await served.stop.wait()


async def test_a_taken_port_is_a_clear_error() -> None:
    """Listening where somebody else does raises ConfigurationError with the address."""
    from horus_async.policy.server.http import ServerOptions, serve_policy

    async with serving(reach) as served:
        port = int(served.url.rsplit(":", 1)[1])
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            await serve_policy("x:y", ServerOptions(port=port))


async def test_a_service_takes_messagepack_and_an_episode_from_its_caller(tmp_path: Path) -> None:
    """Without HTTP: an observation with arrays, counted to the episode that the caller names, becomes an outcome."""
    from horus_async.policy.model.wire import WireFormat, pack
    from horus_async.policy.server.admission.refusal import Refusal
    from horus_async.policy.server.service import PolicyService, ServiceOptions

    numpy = pytest.importorskip("numpy")
    pytest.importorskip("msgpack")
    seen: list[dict[str, Any]] = []

    def policy(request: dict[str, Any]) -> Any:
        seen.append(request)
        return numpy.ones((3, 2), "float32")

    service = PolicyService(ServiceOptions())
    await service.load(from_object(policy, name="test"))
    body = pack({"state": numpy.zeros(2, "float32"), "prompt": "pick"})
    outcome = await service.ask(body, WireFormat.MSGPACK, "r1", {}, trio.sleep_forever, episode_id="of the line")
    assert (outcome.status, outcome.failure, outcome.seq, outcome.request_id) == (200, None, None, "r1")
    assert outcome.answer is not None
    assert (outcome.answer.num_actions, outcome.answer.action_dim) == (3, 2)
    assert seen[0]["episode_id"] == "of the line"
    assert seen[0]["state"].dtype == numpy.float32
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    for odd, status in ((b"\xc1", 400), (pack([1]), 422), (pack({"state": "x"}), 422), (pack({"x": deep}), 422)):
        with pytest.raises(Refusal) as refusal:
            await service.ask(odd, WireFormat.MSGPACK, "r2", {}, trio.sleep_forever)
        assert refusal.value.status == status
    assert len(seen) == 1
    await service.close()
