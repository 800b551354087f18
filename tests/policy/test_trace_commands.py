"""``horus-async trace list | query | summary | check | export``."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy
import orjson
import pytest
from click.testing import CliRunner, Result

from horus_async.cli.trace import trace as trace_command
from horus_async.policy import ImageMode
from tests.policy.traces import exchange, foreign_lines, record, write_lines


def run(*arguments: str | Path) -> Result:
    """``horus-async trace``."""
    return CliRunner().invoke(trace_command, [str(argument) for argument in arguments])


def rows(*arguments: str | Path) -> list[dict[str, object]]:
    """What a command prints as JSON."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = orjson.loads(result.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a trace of ours, a foreign one, and something else."""
    place = tmp_path / "traces"
    exchanges = [
        exchange({"state": [1.0, 2.0], "episode_id": "a", "instruction": "pick"}, policy_ms=5.0),
        exchange({"state": [3.0, 4.0], "episode_id": "b"}, policy_ms=50.0),
        exchange({"state": [3.0, 4.0], "episode_id": "b"}, failure="policy-error"),
    ]
    record(place, exchanges)
    write_lines(place / "foreign.jsonl", foreign_lines())
    (place / "other.jsonl").write_text("not a trace\n")
    (place / "readme.txt").write_text("not looked at")
    return place


def test_list_shows_every_trace(folder: Path) -> None:
    """``list`` has a row a file, with counts, and a reason where a file is no trace."""
    found = {Path(str(row["file"])).name: row for row in rows("list", folder)}
    assert len(found) == 3
    assert found["foreign.jsonl"]["requests"] == 3
    assert "error" in found["other.jsonl"]
    (ours,) = (row for name, row in found.items() if name.startswith("20"))
    assert (ours["requests"], ours["errors"], ours["notes"]) == (3, 1, [])
    assert "foreign.jsonl" in run("list", folder).stdout


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ([], 6),
        (["--episode", "b"], 2),
        (["--status", "failed"], 1),
        (["--status", "success"], 5),
        (["--status", "500"], 1),
        (["--status", "policy-error"], 1),
        (["--min-latency", "40"], 4),
        (["--since", "2026-01-01"], 3),
        (["--since", "2030-01-01T00:00:00Z"], 0),
        (["--limit", "2"], 2),
        (["--episode", "b", "--status", "success"], 1),
    ],
)
def test_query_filters(folder: Path, arguments: list[str], count: int) -> None:
    """``query`` finds exactly the requests that match all filters."""
    assert len(rows("query", folder, *arguments)) == count


def test_query_reads_what_is_named_or_fails(folder: Path) -> None:
    """A file that was named itself and is no trace is an error; in a folder it is passed over and said."""
    assert run("query", folder / "other.jsonl").exit_code == 2
    assert "passed over" in run("query", folder).stderr
    assert run("query", folder / "nothing").exit_code == 2
    assert run("query", folder, "--since", "yesterday").exit_code == 2


def test_a_latency_that_is_none_is_wrong_usage(folder: Path) -> None:
    """NaN would match nothing, in silence."""
    assert run("query", folder, "--min-latency", "nan").exit_code == 2


def test_summary_groups(folder: Path) -> None:
    """``summary`` counts by episode, model, day or task, with the latency percentiles of the successful requests."""
    by_episode = {row["bucket"]: row for row in rows("summary", folder, "--by", "episode")}
    assert set(by_episode) == {"a", "b", "(none)"}
    assert (by_episode["b"]["count"], by_episode["b"]["failed_count"], by_episode["b"]["success_rate"]) == (2, 1, 0.5)
    assert by_episode["b"]["latency_p50_ms"] == by_episode["b"]["latency_max_ms"] == 50.0
    assert {row["bucket"] for row in rows("summary", folder, "--by", "day")} == {"2023-11-14", "2026-04-24"}
    assert len(rows("summary", folder, "--by", "model")) == 2
    assert {row["bucket"] for row in rows("summary", folder, "--by", "task")} == {
        "pick",
        "(none)",
        "pick up the red cup",
    }


def test_check_tells_whole_cut_and_damaged_apart(folder: Path, tmp_path: Path) -> None:
    """``check`` exits 0 for whole or cut traces, 1 for damaged ones, 2 for what is none."""
    whole = folder / "foreign.jsonl"
    data = whole.read_bytes()
    assert run("check", whole).exit_code == 0
    cut, damaged = tmp_path / "cut.jsonl", tmp_path / "damaged.jsonl"
    cut.write_bytes(data[:-150])
    result = run("check", cut)
    assert (result.exit_code, "torn" in result.stdout) == (0, True)
    damaged.write_bytes(data[:600] + b"\n}}}\n" + data[600:])
    assert run("check", damaged).exit_code == 1
    assert run("check", folder / "other.jsonl").exit_code == 2
    assert run("check", tmp_path / "nothing").exit_code == 2


def test_export_reads_back_with_numpy(tmp_path: Path) -> None:
    """An npz corpus holds padded observations, actions, episodes and the images of a full trace."""
    frames = [b"first frame\0", b"second, longer frame"]
    texts = [base64.b64encode(frame).decode() for frame in frames]
    exchanges = [
        exchange({"state": [1.0, 2.0], "episode_id": "a", "image": texts[0]}, result=[[1.0, 2.0], [3.0, 4.0]]),
        exchange({"state": [3.0], "episode_id": "b", "image": texts[1]}, result=[[5.0]]),
        exchange({"state": [4.0]}, failure="policy-error"),
    ]
    path, output = record(tmp_path / "t", exchanges, images=ImageMode.FULL), tmp_path / "corpus.npz"
    assert run("export", path, "--output", output).exit_code == 0
    with numpy.load(output) as corpus:
        assert list(corpus["episode"]) == ["a", "b"]
        assert corpus["actions"].shape == (2, 2, 2)
        assert corpus["actions"][0].tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert corpus["actions"][1, 0, 0] == 5.0
        assert numpy.isnan(corpus["actions"][1]).sum() == 3
        assert corpus["num_actions"].tolist() == [2, 1]
        assert corpus["state_dim"].tolist() == [2, 1]
        ends = corpus["image_offsets"]
        pieces = [corpus["image_data"][ends[n] : ends[n + 1]].tobytes() for n in range(2)]
    assert pieces == frames


def test_export_reads_back_with_pandas(tmp_path: Path) -> None:
    """A Parquet corpus reads back with pandas, one row a successful request."""
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    exchanges = [exchange({"state": [1.0, 2.0], "episode_id": "a"}, result=[[1.0, 2.0], [3.0, 4.0]])]
    path, output = record(tmp_path / "t", exchanges), tmp_path / "corpus.parquet"
    assert run("export", path, "--output", output, "--format", "parquet").exit_code == 0
    table = pandas.read_parquet(output)
    assert table["episode"].tolist() == ["a"]
    assert [list(row) for row in table["actions"][0]] == [[1.0, 2.0], [3.0, 4.0]]
    assert list(table["state"][0]) == [1.0, 2.0]


def test_export_does_not_overwrite_a_trace(folder: Path) -> None:
    """Not even one that is only found in the folder."""
    path = next(folder.glob("*.jsonl*"))
    before = path.read_bytes()
    result = run("export", folder, "--output", path)
    assert result.exit_code == 2
    assert "would be overwritten" in result.stderr
    assert path.read_bytes() == before


def test_export_of_nothing_is_an_error(tmp_path: Path) -> None:
    """Without a successful request nothing is written and the exit code is 2."""
    path = write_lines(tmp_path / "trace.jsonl", foreign_lines(0))
    assert run("export", path, "--output", tmp_path / "x.npz").exit_code == 2
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    "options", [["list"], ["query"], *(["summary", "--by", b] for b in ("day", "task", "episode"))]
)
def test_json_of_what_utf_8_lacks(tmp_path: Path, options: list[str]) -> None:
    """JSON has half surrogate pairs and integers of any size, and so may a trace: they come as they are."""
    lines = foreign_lines()
    half = "\ud800"
    lines[0] |= {"session_id": half, "embodiment": half}
    lines[1] |= {"timestamp": half, "episode_id": half, "request_id": half, "status": 10**30}
    lines[1]["request"] |= {"instruction": half}
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = CliRunner().invoke(trace_command, [options[0], str(path), *options[1:], "--json"])
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)
    assert "\\ud800" in result.stdout
