"""Exported datasets in LeRobot's own hands: its loader, its writer, and ``lerobot-doctor``.

They run in an environment of their own, as LeRobot brings PyTorch: that of the interpreter in ``HORUS_LEROBOT_PYTHON``,
or a new one (6 GB on Linux, several minutes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.policy.test_export_lerobot import a_trace, camera, picture, run

pytestmark = pytest.mark.long

PACKAGES = (
    # LeRobot's own list has a hundred more, which its datasets do not need.
    *("torch", "torchvision", "numpy<2.3", "pandas<3", "datasets>=4,<5", "huggingface-hub<0.36", "av>=15,<16"),
    *("jsonlines", "packaging<26", "pillow", "accelerate<2", "einops", "draccus==0.10.0", "deepdiff", "termcolor"),
    *("gymnasium<2", "lerobot-doctor==0.2.0"),
)

LOAD = """
import json, sys
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root = sys.argv[1]
fps = json.load(open(root + "/meta/info.json"))["fps"]
windows = {"action": [step / fps for step in range(50)]}
dataset = LeRobotDataset("local/traces", root=root, delta_timestamps=windows)
batches = torch.utils.data.DataLoader(dataset, batch_size=4)
batch = next(iter(batches))
print(json.dumps({
    "frames": len(dataset),
    "episodes": dataset.num_episodes,
    "batched": sum(len(batch["index"]) for batch in batches),
    "shapes": {name: list(value.shape) for name, value in batch.items() if hasattr(value, "shape")},
    "tasks": [item["task"] for item in dataset],
    "state": [item["observation.state"].tolist() for item in dataset],
    "windows": [item["action"].tolist() for item in dataset],
    "padded": [int(item["action_is_pad"].sum()) for item in dataset],
    "means": [round(item["observation.images.image"].mean().item(), 4) for item in dataset],
    "success": [item["success"].item() for item in dataset],
    "second": len(LeRobotDataset("local/traces", root=root, episodes=[1])),
    "stats": sorted(dataset.meta.stats["observation.images.image"]),
}))
"""

WRITE = """
import io, json, sys
import numpy, PIL.Image, pyarrow.parquet
from lerobot.datasets.lerobot_dataset import LeRobotDataset

ours, theirs = sys.argv[1:]
info = json.load(open(ours + "/meta/info.json"))
own = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
features = {name: {**one, "shape": tuple(one["shape"])} for name, one in info["features"].items() if name not in own}
tasks = pyarrow.parquet.read_table(ours + "/meta/tasks.parquet").to_pylist()
rows = pyarrow.parquet.read_table(ours + "/data/chunk-000/file-000.parquet").to_pylist()
dataset = LeRobotDataset.create(
    "local/again", info["fps"], features, root=theirs, robot_type=info["robot_type"], use_videos=False
)
for place, row in enumerate(rows):
    frame = {"task": next(one["__index_level_0__"] for one in tasks if one["task_index"] == row["task_index"])}
    for name, one in features.items():
        if one["dtype"] == "image":
            frame[name] = numpy.asarray(PIL.Image.open(io.BytesIO(row[name]["bytes"])))
        elif one["dtype"] == "string":
            frame[name] = row[name]
        else:
            frame[name] = numpy.array(row[name], one["dtype"]).reshape(one["shape"])
    dataset.add_frame(frame)
    if place + 1 == len(rows) or rows[place + 1]["episode_index"] != row["episode_index"]:
        dataset.save_episode()
dataset.finalize()

def schema(root, path):
    return [[field.name, str(field.type)] for field in pyarrow.parquet.read_schema(f"{root}/{path}")]

def table(root, path):
    return pyarrow.parquet.read_table(f"{root}/{path}").to_pylist()

episodes, data = "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"
named = "meta/tasks.parquet"
print(json.dumps({
    "info": [json.load(open(root + "/meta/info.json")) for root in (ours, theirs)],
    "stats": [json.load(open(root + "/meta/stats.json")) for root in (ours, theirs)],
    "schemas": [[schema(root, path) for path in (episodes, data, named)] for root in (ours, theirs)],
    "episodes": [table(root, episodes) for root in (ours, theirs)],
    "tasks": [table(root, named) for root in (ours, theirs)],
    "pandas": [
        json.loads(pyarrow.parquet.read_schema(f"{root}/{named}").metadata[b"pandas"])["index_columns"]
        for root in (ours, theirs)
    ],
}))
"""


@pytest.fixture(scope="module")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has LeRobot."""
    if given := os.environ.get("HORUS_LEROBOT_PYTHON"):
        return Path(given)
    python = tmp_path_factory.mktemp("lerobot") / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", python.parent.parent],
        [python, "-m", "pip", "install", "-q", "--no-cache-dir", *PACKAGES],
        [python, "-m", "pip", "install", "-q", "--no-deps", "lerobot==0.4.4"],
    ):
        made = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, env=_clean(), check=False
        )
        if made.returncode:
            pytest.skip(f"LeRobot cannot be installed here: {made.stderr.strip()[-300:]}")
    return python


def _clean() -> dict[str, str]:
    """The environment without this project, and without Hugging Face's servers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    return {**environment, "HF_HUB_OFFLINE": "1"}


def _told(python: Path, script: str, folder: Path, *arguments: Path) -> Any:
    """What a script in that environment prints."""
    environment = {**_clean(), "HF_HOME": str(folder / "hf"), "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [str(python), "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _exported(folder: Path, *options: str, executed: int | None = 8) -> Path:
    """A dataset of three episodes of seven requests with chunks of 50 steps."""
    asked: list[dict[str, Any]] = []
    for name in range(3):
        for n in range(7):
            seq = len(asked)
            request = {
                "episode_id": f"e{name}",
                "instruction": f"task {name % 2}",
                "state": [seq, seq / 7, 1.0],
                "gripper": seq / 3,
                "note": "said",
                "lit": n % 2 == 0,
                "plan": [[seq, 1.0], [2.0, n]],
                "_s": name * 100 + n * 0.16,
                "_actions": [[seq + step / 50, step / 3] for step in range(50)],
                **camera(picture(seq, size=(24, 18))),
                **camera(picture(seq, "PNG", "L"), "wrist"),
            }
            if n and executed is not None:
                request["executed"] = executed
            if n == 6:
                request["success"] = name != 1
            asked.append(request)
    output = folder / "set"
    result = run(a_trace(folder / "t.jsonl", asked), "--output", output, *options)
    assert result.exit_code == 0, result.output
    return output


def test_the_real_loader_opens_it_and_windows_of_50_actions_load(lerobot: Path, tmp_path: Path) -> None:
    """Every frame, window, task and picture is what was exported, in batches too."""
    told = _told(lerobot, LOAD, tmp_path, _exported(tmp_path))
    assert (told["frames"], told["episodes"], told["batched"], told["second"]) == (168, 3, 168, 56)
    assert told["shapes"]["action"] == [4, 50, 2]
    assert told["shapes"]["observation.images.image"] == [4, 3, 18, 24]
    assert told["shapes"]["observation.images.wrist"] == [4, 3, 12, 16]
    assert told["shapes"]["request.plan"] == [4, 2, 2]
    assert told["tasks"] == ["task 0"] * 56 + ["task 1"] * 56 + ["task 0"] * 56
    assert told["success"] == [1] * 56 + [0] * 56 + [1] * 56
    for index, (state, window, padded) in enumerate(zip(told["state"], told["windows"], told["padded"], strict=True)):
        seq = index // 8
        assert state[0] == seq
        later = [divmod(min(index + ahead, index - index % 56 + 55), 8) for ahead in range(50)]
        assert [round(row[0], 3) for row in window] == [round(seq + step / 50, 3) for seq, step in later]
        assert padded == max(0, 50 - (56 - index % 56))
    assert len(set(told["means"])) > 15
    assert told["stats"] == sorted(["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"])


def test_a_request_a_frame_with_any_rate_opens(lerobot: Path, tmp_path: Path) -> None:
    """Frames at the rate of requests, and at one that is no whole number."""
    (tmp_path / "slow").mkdir()
    assert _told(lerobot, LOAD, tmp_path, _exported(tmp_path, executed=None))["frames"] == 21
    slow = _exported(tmp_path / "slow", "--fps", "0.5", executed=None)
    assert _told(lerobot, LOAD, tmp_path, slow)["frames"] == 21


def test_it_is_what_the_real_writer_writes(lerobot: Path, tmp_path: Path) -> None:
    """The same frames written by LeRobot itself: the same files, columns, types and numbers."""
    ours = _exported(tmp_path)
    told = _told(lerobot, WRITE, tmp_path, ours, tmp_path / "theirs")
    for name in ("info", "tasks", "pandas"):
        assert told[name][0] == told[name][1], name
    for mine, real in zip(*told["schemas"], strict=True):
        assert dict(mine) == dict(real)
        assert [name for name, _ in mine] == [name for name, _ in real] or "stats/action/min" in dict(mine)
    mine, real = told["stats"]
    assert mine.keys() == real.keys()
    for name in mine:
        assert mine[name].keys() == real[name].keys()
        for key, value in mine[name].items():
            assert _is_near(name, key, value, real[name]), (name, key, value, real[name][key])
    for mine, real in zip(*told["episodes"], strict=True):
        assert {key: value for key, value in mine.items() if not key.startswith("stats/")} == {
            key: value for key, value in real.items() if not key.startswith("stats/")
        }


def _is_near(name: str, key: str, value: Any, real: dict[str, Any]) -> bool:
    """Whether a statistic is LeRobot's, whose quantiles are those of a histogram, and whose pictures' spread is wrong.

    It squares pixels as unsigned bytes, which overflows.
    """
    import numpy

    if "images" in name and key == "std":
        return bool(numpy.shape(value) == numpy.shape(real[key]))
    spread = numpy.array(real["max"], float) - numpy.array(real["min"], float)
    slack = 1e-5 * (1 + numpy.abs(numpy.array(real["max"], float))) + (0.01 * spread if key[0] == "q" else 0)
    return bool(numpy.all(numpy.abs(numpy.array(value, float) - numpy.array(real[key], float)) <= slack))


def test_the_doctor_finds_no_fault(lerobot: Path, tmp_path: Path) -> None:
    """``lerobot-doctor`` has warnings about what the robot did, and no failure."""
    dataset = _exported(tmp_path)
    command = [str(lerobot.parent / "lerobot-doctor"), str(dataset), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=_clean(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"FAIL": 0' in done.stdout
