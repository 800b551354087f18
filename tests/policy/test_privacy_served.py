"""The server: what it records, answers, logs and replays of images in every place of a request."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy
import orjson
import pytest
from click.testing import CliRunner, Result

from horus_async.cli.trace import trace as trace_command
from horus_async.policy import ImageMode, TraceOptions, TraceReader
from tests.policy.conftest import needs_server, only_trace, read_all, serving
from tests.policy.requests_with_images import Picture, leaks
from tests.policy.traces import exchange, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

image_library = pytest.importorskip("PIL.Image")


def picture(seed: int, form: str = "JPEG") -> bytes:
    """A small image of noise."""
    stream = io.BytesIO()
    pixels = numpy.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=numpy.uint8)
    image_library.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def text(data: bytes) -> str:
    """Its base64."""
    return base64.b64encode(data).decode()


FAILING: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the request": repr,
    "a slice of the text": lambda request: request["images"][0][1000:1400],
    "bytes": lambda request: base64.b64decode(request["images"][0])[200:300],
    "numbers": lambda request: list(base64.b64decode(request["images"][0])[200:300]),
    "an array": lambda request: numpy.array(request["frame"]),
    "what NumPy says": lambda request: numpy.asarray(request["images"], dtype=float),
}


@needs_server
@pytest.mark.parametrize("name", FAILING)
async def test_errors_show_nothing_of_an_image(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a policy puts into an error: the answer, the trace and the log hold no piece of an image."""
    first, frame = picture(1), numpy.random.default_rng(2).integers(0, 256, (12, 12, 3), dtype=numpy.uint8)

    def policy(request: dict[str, Any]) -> Any:
        shown = FAILING[name](request)
        request.clear()
        raise ValueError(f"no gripper in {shown}")

    trace = TraceOptions(directory=tmp_path, compress=False, images=ImageMode.HASH_ONLY)
    async with serving(policy, trace=trace) as served:
        answer = await served.act(images=[text(first)], frame=frame.tolist(), state=[1.0])
    assert answer.status_code == 500
    assert "ValueError" in answer.json()["message"]
    pictures = [Picture(first), Picture(frame.tobytes(), frame)]
    for place in (answer.text, only_trace(tmp_path).read_text(), caplog.text):
        assert leaks(place, pictures) == []
    assert "in policy" in caplog.text


@needs_server
@pytest.mark.parametrize("mode", [ImageMode.HASH_ONLY, ImageMode.NONE])
async def test_images_anywhere_follow_the_image_mode(mode: ImageMode, tmp_path: Path) -> None:
    """In lists, objects, URLs, MIME and raw pixels; the line says where they were."""
    data = picture(3)
    coded = text(data)
    fields: dict[str, tuple[Any, list[str]]] = {
        "images": ([coded], ["images.0"]),
        "cameras": ({"high": coded}, ["cameras.high"]),
        "top": (f"data:image/jpeg;base64,{coded}", ["top"]),
        "observation.images.top": (coded, ["observation.images.top"]),
        "wrist": (base64.encodebytes(data).decode(), ["wrist"]),
        "raw": ([[[9, 8, 7], [9, 8, 7]]], ["raw"]),
        "instruction": (f"what is in {coded}?", ["instruction"]),
    }
    async with serving(lambda _: [[0.0]], trace=TraceOptions(directory=tmp_path, images=mode)) as served:
        for name, (value, _) in fields.items():
            assert (await served.act(**{name: value})).status_code == 200
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    for line, (_, paths) in zip(lines, fields.values(), strict=True):
        assert line["cameras"] == paths
        assert leaks(orjson.dumps(line).decode(), [Picture(data)]) == []
        assert "9,8,7" not in orjson.dumps(line).decode()


def test_text_is_no_camera_and_its_request_replays(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Words and ids that look like base64 stay, and their request is replayed as it is."""
    request = {"state": [1.0, 2.0], "task": "teleoperated", "robot": "550e8400e29b41d4a716446655440000"}
    model = policy_module("def policy(r): return [[float(len(r['task'])), float(len(r['robot']))]]")
    path = record(tmp_path / "traces", [exchange(request, result=[[12.0, 32.0]])])
    (line,) = read_all(path).lines  # type: ignore[attr-defined]
    assert line["request"] == {"instruction": "", **request}
    assert replay(path, "--model", model, "--fail-on", "actions").exit_code == 0


def replay(path: Path, *arguments: str) -> Result:
    """``horus-async trace replay``."""
    return CliRunner().invoke(trace_command, ["replay", str(path), *arguments])


FORMS: dict[str, Callable[[bytes], Any]] = {
    "in a list": lambda data: [text(data)],
    "unpadded": lambda data: {"x": text(data).rstrip("=")},
    "url-safe": lambda data: {"x": base64.urlsafe_b64encode(data).decode()},
    "mime": lambda data: {"x": base64.encodebytes(data).decode()},
    "data url": lambda data: [f"data:image/png;base64,{text(data)}"],
    "in words": lambda data: f"look at {text(data)} here",
    "numbers": lambda data: [list(data)],
    "pixels": lambda data: numpy.asarray(image_library.open(io.BytesIO(data))).tolist(),
    "channels first": lambda data: numpy.asarray(image_library.open(io.BytesIO(data))).transpose(2, 0, 1).tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_hashed_images_are_found_again_wherever_they_were(
    form: str, tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """A request whose image was hashed is skipped and said, or replays as it was with --image-dir."""
    data = picture(4, "PNG")
    value = FORMS[form](data)
    model = policy_module("def policy(r): return [[float(len(repr(r['x']))), float(sum(repr(r['x']).encode()))]]")
    result = [[float(len(repr(value))), float(sum(repr(value).encode()))]]
    path = record(tmp_path / "traces", [exchange({"x": value}, result=result)])
    skipped = replay(path, "--model", model, "--fail-on", "actions")
    assert skipped.exit_code == 3
    assert "the image of 'x" in skipped.stdout
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0001.png").write_bytes(data)
    found = replay(path, "--model", model, "--fail-on", "actions", "--image-dir", str(tmp_path / "frames"))
    assert found.exit_code == 0, found.output


def test_images_of_mode_none_are_counted_wherever_they_were(tmp_path: Path) -> None:
    """Requests of which mode none left images out replay without them, and the report counts these."""
    request = {"state": [1.0, 2.0], "images": [text(picture(5))], "image": text(picture(6))}
    path = record(tmp_path, [exchange(request)], images=ImageMode.NONE)
    (line,) = read_all(path).lines  # type: ignore[attr-defined]
    assert line["cameras"] == ["image", "images.0"]
    with_names = replay(path, "--model", f"{__file__.replace('test_privacy_served', 'conftest')}:reach", "--json")
    assert orjson.loads(with_names.stdout)["per_request_diffs"][0]["without_cameras"] == ["images.0", "image"]


def test_the_names_of_other_fields_are_not_mistaken_for_hashes(tmp_path: Path) -> None:
    """A client's own fields that end like those of an image are read as they were sent."""
    request = {"state": [1.0, 2.0], "model_sha256": "0123", "note_b64": "abc", "image": text(picture(7))}
    request |= {"image_sha256": "mine", "$image": "x"}
    path = record(tmp_path, [exchange(request)], images=ImageMode.FULL)
    with TraceReader(path) as trace:
        (found,) = trace.requests()
    assert {**request, "instruction": "", "episode_id": None} == found.observation()
    assert found.cameras().keys() == {"image"}
