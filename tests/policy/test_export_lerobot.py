"""``horus-async trace export --format lerobot``: the files of a LeRobotDataset v3.0, read with pyarrow alone."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import numpy
import pyarrow.parquet as pq
import pytest
from attrs import evolve
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from horus_async.cli.trace import trace as trace_command
from horus_async.errors import TraceError
from horus_async.policy import DatasetOptions, ExportFormat, Filter, ImageMode, export, matching
from horus_async.policy.model.wire import WireFormat, pack
from tests.policy.traces import exchange, foreign_lines, record, write_lines

if TYPE_CHECKING:
    from pathlib import Path

START = 1_700_000_000_000_000_000


def run(*arguments: str | Path) -> Result:
    """``horus-async trace export --format lerobot``."""
    return CliRunner().invoke(trace_command, ["export", "--format", "lerobot", *map(str, arguments)])


def picture(seed: int = 0, form: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (16, 12)) -> bytes:
    """An encoded image of noise."""
    noise = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, form)
    return file.getvalue()


def camera(data: bytes, name: str = "image") -> dict[str, str]:
    """The fields of a recorded image."""
    return {f"{name}_b64": base64.b64encode(data).decode(), f"{name}_sha256": "0" * 16}


def a_trace(path: Path, requests: list[dict[str, Any]], **header: Any) -> Path:
    """A trace; ``_s``, ``_actions``, ``_line`` of a request are its time in seconds, its answer, further fields."""
    lines: list[dict[str, Any]] = [foreign_lines(0, **header)[0]]
    for seq, fields in enumerate(requests):
        request = dict(fields)
        seconds, actions = request.pop("_s", seq * 0.1), request.pop("_actions", [[float(seq), 1.0]])
        further = request.pop("_line", {})
        lines.append(
            {
                "kind": "request",
                "schema_version": 1,
                "seq": seq,
                "arrival_ns": START + round(seconds * 1e9),
                "request": request,
                "response": {"actions": actions},
                "latency": {"total_ms": 5.0},
                **further,
            }
        )
    return write_lines(path, lines)


def table(path: Path) -> Any:
    """A Parquet file, closed when it is read."""
    return pq.read_table(io.BytesIO(path.read_bytes()))


def frames(folder: Path) -> list[dict[str, Any]]:
    """All rows of a dataset."""
    return [row for path in sorted((folder / "data").rglob("*.parquet")) for row in table(path).to_pylist()]


def info(folder: Path) -> dict[str, Any]:
    """``info.json``."""
    found: dict[str, Any] = json.loads((folder / "meta/info.json").read_text())
    return found


def episodes(folder: Path) -> list[dict[str, Any]]:
    """The rows of the episodes."""
    found: list[dict[str, Any]] = table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    return found


def column(folder: Path, name: str) -> list[Any]:
    """A column of all frames."""
    return [row[name] for row in frames(folder)]


def test_a_request_a_step_is_a_frame(tmp_path: Path) -> None:
    """A client that asks each step: every frame has its own observation, the action, and the rate of the requests."""
    asked = [
        {
            "state": [n, 0.5],
            "instruction": f"task {n // 3}",
            "episode_id": f"e{n // 3}",
            "force": [n, 1],
            **camera(picture(n)),
        }
        for n in range(6)
    ]
    path, folder = a_trace(tmp_path / "t.jsonl", asked), tmp_path / "set"
    result = run(path, "--output", folder)
    assert result.exit_code == 0, result.output
    assert "6 frames in 2 episodes of 6 requests" in result.stdout
    assert "10 frames a second" in result.stderr
    rows = frames(folder)
    assert [row["observation.state"] for row in rows] == [[n, 0.5] for n in range(6)]
    assert [row["action"] for row in rows] == [[n, 1.0] for n in range(6)]
    assert [row["observation.force"] for row in rows] == [[n, 1.0] for n in range(6)]
    assert [row["observation.images.image"]["bytes"] for row in rows] == [picture(n) for n in range(6)]
    assert [row["index"] for row in rows] == list(range(6))
    assert [row["frame_index"] for row in rows] == [0, 1, 2] * 2
    assert [row["episode_index"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert numpy.allclose([row["timestamp"] for row in rows], [0, 0.1, 0.2] * 2)
    assert [row["next.done"] for row in rows] == [False, False, True] * 2
    tasks = {row["task_index"]: row["__index_level_0__"] for row in table(folder / "meta/tasks.parquet").to_pylist()}
    assert [tasks[row["task_index"]] for row in rows] == ["task 0"] * 3 + ["task 1"] * 3
    assert not {"executed", "success", "observed"} & rows[0].keys()


def test_what_the_files_say_of_themselves(tmp_path: Path) -> None:
    """``info.json``, the episodes and the statistics say what is in the data."""
    asked = [{"state": [n], "episode_id": "a" if n < 2 else "b", **camera(picture(n))} for n in range(5)]
    folder = tmp_path / "set"
    assert run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder, "--robot-type", "arm").exit_code == 0
    found = info(folder)
    assert found["codebase_version"] == "v3.0"
    assert (found["fps"], found["robot_type"], found["video_path"]) == (10, "arm", None)
    assert (found["total_episodes"], found["total_frames"], found["total_tasks"]) == (2, 5, 1)
    assert found["splits"] == {"train": "0:2"}
    assert found["features"]["observation.images.image"] == {
        "dtype": "image",
        "shape": [12, 16, 3],
        "names": ["height", "width", "channels"],
    }
    assert found["features"]["observation.state"]["shape"] == [1]
    schema = table(folder / found["data_path"].format(chunk_index=0, file_index=0)).schema
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"]["observation.images.image"] == {
        "_type": "Image"
    }
    assert schema.names == list(found["features"])
    rows = episodes(folder)
    assert [(row["dataset_from_index"], row["dataset_to_index"], row["length"]) for row in rows] == [
        (0, 2, 2),
        (2, 5, 3),
    ]
    assert all(row["tasks"] == [""] for row in rows)
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert numpy.isclose(stats["observation.state"]["mean"][0], 2.0)
    assert stats["observation.state"]["count"] == [5]
    assert numpy.isclose(stats["observation.state"]["std"][0], numpy.std([0, 1, 2, 3, 4]))
    pixels = numpy.stack([numpy.asarray(Image.open(io.BytesIO(picture(n)))) for n in range(5)]) / 255
    image = stats["observation.images.image"]
    assert numpy.allclose(numpy.ravel(image["mean"]), pixels.mean(axis=(0, 1, 2)))
    assert numpy.allclose(numpy.ravel(image["std"]), pixels.std(axis=(0, 1, 2)))
    assert numpy.shape(image["q99"]) == (3, 1, 1)
    assert rows[1]["stats/observation.state/q50"] == [3.0]


def test_steps_that_were_carried_out_are_frames(tmp_path: Path) -> None:
    """A client that says how much it carried out: so many actions are frames, at their rate, with what was seen."""
    chunk = [[float(step)] for step in range(8)]
    asked = [{"state": [n], "_s": n * 0.2, "_actions": chunk, "episode_id": "e"} for n in range(3)]
    asked[1]["executed"], asked[2]["executed"] = 4, 2
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert result.exit_code == 0, result.output
    assert column(folder, "action") == [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 0.0, 1.0, 2.0]
    assert column(folder, "observation.state") == [0] * 4 + [1] * 2 + [2] * 3
    assert column(folder, "executed") == [4] * 4 + [2] * 2 + [3] * 3
    assert column(folder, "observed") == [True, False, False, False, True, False, True, False, False]
    assert info(folder)["fps"] == 15
    assert "how much of 1 chunks was carried out" in result.stderr


def test_a_given_rate_says_how_much_was_carried_out(tmp_path: Path) -> None:
    """Without ``executed``, the time to the next request and ``--fps`` say how many steps were carried out."""
    chunk = [[float(step)] for step in range(5)]
    asked = [{"_s": seconds, "_actions": chunk, "episode_id": "e"} for seconds in (0.0, 0.3, 0.4, 2.0)]
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder, "--fps", "10")
    assert result.exit_code == 0, result.output
    assert column(folder, "action") == [0, 1, 2, 0, 0, 1, 2, 3, 4, 0, 1, 2]
    assert "2.0 s of requests are 0.9 s of frames" in result.stderr


def test_a_chunk_that_nothing_was_carried_out_of_has_no_frame(tmp_path: Path) -> None:
    """``executed`` of 0 is said, and is no frame."""
    asked = [{"state": [n], "executed": 1, "episode_id": "e"} for n in range(4)]
    asked[2]["executed"] = 0
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert result.exit_code == 0
    assert column(folder, "observation.state") == [0, 2, 3]
    assert "1 requests have no frame" in result.stderr


def test_what_a_failed_request_says_counts(tmp_path: Path) -> None:
    """A request that failed, too, says how much of the chunk before it was carried out, and how the episode went."""
    chunk = [[float(step)] for step in range(5)]
    asked: list[dict[str, Any]] = [{"_actions": chunk, "episode_id": "e", "_s": n * 0.2} for n in range(3)]
    asked[1].update(executed=2)
    asked[2].update(executed=4, success=True, _actions=[], _line={"error": {"slug": "policy-error", "message": "x"}})
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert result.exit_code == 0, result.output
    assert column(folder, "action") == [0, 1, 0, 1, 2, 3]
    assert column(folder, "success") == [1] * 6
    assert "nothing says" not in result.stderr


def test_numbers_that_are_too_large_for_a_dataset(tmp_path: Path) -> None:
    """Integers keep their digits; what single floats cannot hold is not made infinite."""
    asked = [
        {"stamp": 1_700_000_000_000_000_000 + n, "far": 1e300, "low": -(2**63), "episode_id": "e"} for n in range(3)
    ]
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert column(folder, "observation.stamp") == [1_700_000_000_000_000_000 + n for n in range(3)]
    assert column(folder, "observation.low") == [-(2**63)] * 3
    assert "observation.far is left out" in result.stderr
    huge = a_trace(tmp_path / "huge.jsonl", [{"_actions": [[1e300]], "episode_id": "e"}, {"episode_id": "f"}])
    assert "with actions that are not finite" in run(huge, "--output", tmp_path / "other", "--fps", "5").stderr


def test_only_first_steps_are_said(tmp_path: Path) -> None:
    """Where nothing says how much of a chunk was carried out, its first step is a frame, and that is said."""
    asked = [{"_actions": [[1.0], [2.0]], "episode_id": "e"} for _ in range(3)]
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert column(folder, "action") == [1, 1, 1]
    assert "only the first step of each chunk" in result.stderr


def test_success_is_what_the_client_said_last(tmp_path: Path) -> None:
    """The outcome of an episode is on all of its frames, and on its last one as LeRobot has it."""
    said = [("a", False), ("a", True), ("b", None), ("b", 0), ("c", None), ("c", None)]
    asked = [{"episode_id": name, **({} if value is None else {"success": value})} for name, value in said]
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert column(folder, "success") == [1, 1, 0, 0, -1, -1]
    assert column(folder, "next.success") == [False, True, False, False, False, False]
    assert "1 episodes do not say whether they succeeded" in result.stderr


def test_pictures_of_other_kinds_become_png(tmp_path: Path) -> None:
    """JPEG and PNG in RGB keep their bytes; grey and WebP pictures are converted, deep and broken ones left out."""
    deep = io.BytesIO()
    Image.fromarray(numpy.full((12, 16), 40_000, numpy.uint16)).save(deep, "PNG")
    fields = {
        **camera(picture(1, "PNG"), "kept"),
        **camera(picture(2, "PNG", "L"), "grey"),
        **camera(picture(3, "WEBP"), "webp"),
        **camera(deep.getvalue(), "deep"),
        **camera(picture(4)[:200], "broken"),
    }
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", [{**fields, "episode_id": "e"}] * 2), "--output", folder)
    assert result.exit_code == 0, result.output
    (row, _) = frames(folder)
    assert row["observation.images.kept"] == {"bytes": picture(1, "PNG"), "path": "frame-000000.png"}
    grey = Image.open(io.BytesIO(row["observation.images.grey"]["bytes"]))
    assert (grey.mode, grey.format) == ("RGB", "PNG")
    assert numpy.array_equal(
        numpy.asarray(grey)[:, :, 0], numpy.asarray(Image.open(io.BytesIO(picture(2, "PNG", "L"))))
    )
    assert Image.open(io.BytesIO(row["observation.images.webp"]["bytes"])).format == "PNG"
    assert not [name for name in row if "deep" in name or "broken" in name]
    assert "2 images of grey" in result.stderr
    assert "2 images of deep are left out: it has more than 8 bits a channel" in result.stderr
    assert "2 images of broken are left out: it cannot be decoded" in result.stderr


def test_episodes_that_do_not_fit_are_left_out_and_said(tmp_path: Path) -> None:
    """Another robot's width, a picture of another size: the episode is not in the dataset, and the exit code is 1."""
    asked: list[dict[str, Any]] = []
    for name in "abcd":
        for n in range(3):
            odd = name == "b" and n == 1
            size = (20, 20) if name == "c" and n == 2 else (16, 12)
            asked.append(
                {
                    "episode_id": name,
                    "state": [n],
                    "_actions": [[1.0, 2.0, 3.0]] if odd else [[1.0, 2.0]],
                    **camera(picture(n, size=size)),
                }
            )
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert result.exit_code == 1
    assert "6 frames in 2 episodes of 6 requests" in result.stdout
    assert "left out: 3 requests of episodes with actions that are not of 2 values" in result.stderr
    assert "left out: 3 requests of episodes without observation.images.image of 12 × 16 throughout" in result.stderr
    sources = json.loads((folder / "meta/horus_async.json").read_text())["episodes"]
    assert [one["episode_id"] for one in sources] == ["a", "d"]
    assert sources[1]["seq_and_frames"] == [[9, 1], [10, 1], [11, 1]]


def test_a_field_that_comes_and_goes_is_left_out_and_said(tmp_path: Path) -> None:
    """A second camera every other step is no feature, but its episodes stay."""
    asked = [{"episode_id": "e", "state": [n], **(camera(picture(n), "wrist") if n % 2 else {})} for n in range(6)]
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert result.exit_code == 0
    assert len(frames(folder)) == 6
    assert "observation.images.wrist is left out: 3 requests have it" in result.stderr


def test_what_is_not_in_it_is_said(tmp_path: Path) -> None:
    """Failed requests, images that were not kept, requests that were not recorded."""
    asked: list[dict[str, Any]] = [{"state": [n], "image_sha256": "0" * 16} for n in range(4)]
    asked[1]["_line"] = {"error": {"slug": "policy-error", "message": "it failed"}, "response": {"actions": []}}
    asked[3]["_line"] = {"dropped_before": 7}
    folder = tmp_path / "set"
    result = run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder)
    assert result.exit_code == 1, "frames are missing"
    assert "1 requests without actions" in result.stderr
    assert "the trace kept none of image" in result.stderr
    assert "left out: 7 requests that the server could not record" in result.stderr
    assert "1 episodes are all requests of a session without an episode_id" in result.stderr
    assert "4" not in [row["index"] for row in frames(folder)]


def test_nothing_left_or_no_rate_is_refused(tmp_path: Path) -> None:
    """Exit code 2, one line, and no folder."""
    folder = tmp_path / "set"
    one = a_trace(tmp_path / "one.jsonl", [{"state": [1]}])
    result = run(one, "--output", folder)
    assert result.exit_code == 2
    assert "say it with --fps" in result.stderr
    assert run(one, "--output", folder, "--fps", "5").exit_code == 0
    again = run(one, "--output", folder, "--fps", "5")
    assert again.exit_code == 2
    assert "needs a new folder" in again.stderr
    nothing = a_trace(tmp_path / "nothing.jsonl", [{"_actions": []}])
    assert run(nothing, "--output", tmp_path / "other", "--fps", "5").exit_code == 2
    slow = a_trace(tmp_path / "slow.jsonl", [{"_s": 5.0 * n, "episode_id": "e"} for n in range(3)])
    assert "no whole number" in run(slow, "--output", tmp_path / "other").stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nothing.jsonl", "one.jsonl", "set", "slow.jsonl"]


def test_an_episode_goes_on_in_the_next_file_and_ends_with_a_reset(tmp_path: Path) -> None:
    """Parts of one session are one; a policy that was reset begins a new episode, whatever its name."""
    first = a_trace(tmp_path / "a.part0.jsonl", [{"state": [n], "episode_id": "e"} for n in range(2)])
    rest = [{"state": [n], "episode_id": "e", "_s": n * 0.1} for n in range(2, 6)]
    rest[2]["_line"] = {"reset": True}
    second = a_trace(tmp_path / "b.part1.jsonl", rest, part=1)
    folder = tmp_path / "set"
    assert run(first, second, "--output", folder).exit_code == 0
    assert [row["length"] for row in episodes(folder)] == [4, 2]
    assert column(folder, "observation.state") == [0, 1, 2, 3, 4, 5]


def test_robots_that_ask_in_turns_have_an_episode_each(tmp_path: Path) -> None:
    """Interleaved episodes are taken apart, in the order of their beginning."""
    asked = [{"state": [n], "episode_id": "ab"[n % 2], "_s": n * 0.05} for n in range(6)]
    folder = tmp_path / "set"
    assert run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder).exit_code == 0
    assert column(folder, "observation.state") == [0, 2, 4, 1, 3, 5]
    assert info(folder)["fps"] == 10


def test_names_of_other_clients(tmp_path: Path) -> None:
    """``observation/state`` and ``prompt`` are the state and the task; no feature has a slash, as LeRobot wants it."""
    asked = [
        {
            "observation/state": [n, 1.0],
            "observation/gripper": [0.5],
            "prompt": "fold",
            "note": "hi",
            "nested": {"deep": {"er": [1, 2]}},
            "plan": [[1, 2], [3, 4]],
            "ragged": [[1], [2, 3]],
            "episode_id": "e",
        }
        for n in range(3)
    ]
    folder = tmp_path / "set"
    assert run(a_trace(tmp_path / "t.jsonl", asked), "--output", folder).exit_code == 0
    (row, *_) = frames(folder)
    assert row["observation.state"] == [0.0, 1.0]
    assert row["observation.gripper"] == 0.5
    assert row["request.note"] == "hi"
    assert row["observation.nested.deep.er"] == [1, 2]
    assert row["request.plan"] == [[1, 2], [3, 4]]
    assert row["request.ragged"] == "[[1],[2,3]]"
    assert episodes(folder)[0]["tasks"] == ["fold"]
    assert not [name for name in row if "/" in name]


def test_arrays_of_pixels_are_pictures(tmp_path: Path) -> None:
    """Observations of openpi: pixels become PNG, channels first too, the arrays are the state and further features."""
    noise = numpy.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=numpy.uint8)
    exchanges = []
    for n in range(3):
        sent = {
            "observation/image": noise,
            "observation/wrist_image": numpy.moveaxis(noise, 2, 0),
            "observation/depth": numpy.full((24, 32, 1), 40_000, numpy.uint16),
            "observation/state": numpy.array([n, 1], numpy.float32),
            "images": {"top": base64.b64encode(picture(n)).decode()},
            "prompt": "fold",
        }
        one = exchange({}, arrival_ns=START + n * 50_000_000)
        exchanges.append(evolve(one, body=pack(sent), form=WireFormat.MSGPACK))
    folder = tmp_path / "set"
    result = run(record(tmp_path / "t", exchanges, images=ImageMode.FULL), "--output", folder)
    assert result.exit_code == 0, result.output
    rows = frames(folder)
    for name in ("image", "wrist_image"):
        stored = Image.open(io.BytesIO(rows[2][f"observation.images.{name}"]["bytes"]))
        assert stored.format == "PNG"
        assert numpy.array_equal(numpy.asarray(stored), noise)
    assert rows[2]["observation.images.top"]["bytes"] == picture(2)
    assert [row["observation.state"] for row in rows] == [[n, 1] for n in range(3)]
    assert episodes(folder)[0]["tasks"] == ["fold"]
    assert "3 images of observation/depth are left out: its pixels are uint16" in result.stderr
    assert not [name for name in rows[0] if "depth" in name or "/" in name]


REQUEST = st.fixed_dictionaries(
    {
        "episode_id": st.sampled_from([None, "a", "b"]),
        "instruction": st.sampled_from(["", "pick", "place"]),
        "state": st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
        "_actions": st.integers(0, 4).flatmap(
            lambda steps: st.lists(
                st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=steps, max_size=steps
            )
        ),
        "executed": st.none() | st.integers(0, 5),
        "success": st.none() | st.booleans(),
    }
)


@given(asked=st.lists(REQUEST, min_size=1, max_size=12), data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_frame_is_a_step_of_the_trace(
    tmp_path_factory: pytest.TempPathFactory, asked: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Every value is the trace's, every answered request is accounted for, and all counts agree."""
    folder = tmp_path_factory.mktemp("t")
    given = [{name: value for name, value in one.items() if value is not None} for one in asked]
    times = data.draw(st.lists(st.floats(0, 60), min_size=len(asked), max_size=len(asked)).map(sorted))
    path = a_trace(folder / "t.jsonl", [{**one, "_s": seconds} for one, seconds in zip(given, times, strict=True)])
    answered = {seq for seq, one in enumerate(given) if one["_actions"]}
    output = folder / "set"
    try:
        exported = export(matching([path], Filter(), print), output, ExportFormat.LEROBOT, DatasetOptions(fps=10.0))
    except TraceError as error:
        assert not answered or "no step of any chunk was carried out" in str(error)  # noqa: PT017
        return
    rows = frames(output)
    assert exported.frames == len(rows) == info(output)["total_frames"]
    assert exported.whole
    tasks = [row["__index_level_0__"] for row in table(output / "meta/tasks.parquet").to_pylist()]
    place, used = 0, []
    for number, source in enumerate(json.loads((output / "meta/horus_async.json").read_text())["episodes"]):
        for seq, count in source["seq_and_frames"]:
            answered.remove(seq)
            used.append(seq)
            for step in range(count):
                row, one = rows[place], given[seq]
                assert row["episode_index"] == number
                assert row["index"] == place
                assert row["action"] == numpy.float32(one["_actions"][step]).tolist()
                assert row["observation.state"] == numpy.float32(one["state"]).tolist()
                assert tasks[row["task_index"]] == one["instruction"]
                assert row.get("observed", True) == (step == 0)
                place += 1
    assert place == len(rows)
    thrown_away = {given[seq].get("episode_id") for seq in answered}
    assert exported.requests + len(answered) == sum(bool(one["_actions"]) for one in given)
    assert not [row for row in used if given[row].get("episode_id") in thrown_away]


@pytest.mark.parametrize("fps", ["nan", "inf", "0", "-1"])
def test_a_rate_that_is_none_is_wrong_usage(tmp_path: Path, fps: str) -> None:
    """Neither is NaN a rate, nor infinity."""
    result = run(write_lines(tmp_path / "t.jsonl", foreign_lines()), "--output", tmp_path / "set", "--fps", fps)
    assert result.exit_code == 2
    assert "'--fps'" in result.stderr
    assert not (tmp_path / "set").exists()


def test_half_a_surrogate_pair_in_a_name_is_an_escape(tmp_path: Path) -> None:
    """In what the dataset says of its episodes and fields; UTF-8 lacks it, JSON does not."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": [n], "episode_id": "HALF", "x HALF": n} for n in range(2)])
    path.write_text(path.read_text().replace("HALF", "\\ud800"))
    result = run(path, "--output", tmp_path / "set")
    assert result.exit_code == 0, (result.exception, result.output)
    texts = [file.read_text() for file in (tmp_path / "set").rglob("*.json")]
    assert any("\\ud800" in text for text in texts)
    assert all(json.loads(text) for text in texts)


def test_a_field_with_an_integer_that_no_float_holds_is_text(tmp_path: Path) -> None:
    """JSON has them, NumPy and Parquet do not."""
    path = a_trace(tmp_path / "t.jsonl", [{"state": [n], "episode_id": "e", "wide": ["WIDE"]} for n in range(2)])
    path.write_text(path.read_text().replace('"WIDE"', str(10**400)))
    result = run(path, "--output", tmp_path / "set")
    assert result.exit_code == 0, (result.exception, result.output)
