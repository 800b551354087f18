"""Replaying traces: what passes, what differs, and what must never count as a pass."""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from horus_async.cli.trace import trace as trace_command
from horus_async.policy import ImageMode, Thresholds
from horus_async.policy.replay.actions import compare_actions, compare_cache, compare_latency
from horus_async.policy.replay.cosine import cosine
from tests.policy.traces import exchange, foreign_lines, record, write_lines

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Thresholds()
SAME = f"{Path(__file__).parent / 'conftest.py'}:reach"


def replay(path: Path, *arguments: str) -> Result:
    """``horus-async trace replay``."""
    return CliRunner().invoke(trace_command, ["replay", str(path), *arguments])


def report_of(path: Path, *arguments: str) -> dict[str, Any]:
    """The JSON report of a replay."""
    found: dict[str, Any] = orjson.loads(replay(path, *arguments, "--json").stdout)
    return found


@pytest.fixture
def simple(tmp_path: Path) -> Path:
    """A trace of three requests without cameras."""
    return write_lines(tmp_path / "trace.jsonl.gz", foreign_lines())


@pytest.mark.parametrize(
    ("recorded", "replayed", "passed"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], True),
        ([[1.0, 2.0]], [[1.0, 2.0009]], True),
        ([[1.0, 0.0]], [[1.0, 0.001]], False),
        ([[1.0, 0.0]], [[0.9995, 0.0]], True),
        ([[0.0, 0.0]], [[0.0, 0.0]], True),
        ([[0.0, 0.0]], [[1e-6, 0.0]], False),
        ([[1e-4, 0.0]], [[0.0, 1e-4]], False),
        ([[1.0]], [[-1.0]], False),
        ([[1.0, 2.0]], [[1.0], [2.0]], False),
        ([[1.0]], [[1.0], [1.0]], False),
        ([[math.nan]], [[math.nan]], False),
        ([[1.0]], [[math.nan]], False),
        ([[math.inf]], [[math.inf]], False),
        ([["a"]], [["a"]], False),
        ([], [], False),
        ([[1e200, 1e200]], [[1e200, 1e200]], True),
        ([[1]], [[1.0]], True),
    ],
)
def test_actions_pass_by_cosine_and_largest_difference(recorded: Any, replayed: Any, passed: bool) -> None:
    """Actions pass at cos >= 0.999 and max_abs < 1e-3; NaN and other shapes never, two zero chunks do."""
    assert compare_actions(recorded, replayed, LIMITS).passed is passed


def test_deviations_are_told_per_dimension() -> None:
    """The largest difference is also given for each action dimension."""
    diff = compare_actions([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.5], [3.25, 4.0]], LIMITS)
    assert diff.per_dim_max_abs == [0.25, 0.5]
    assert diff.max_abs_diff == 0.5


@given(
    st.lists(st.floats(-1e3, 1e3).filter(lambda value: abs(value) > 1e-3), min_size=1, max_size=20), st.floats(0.1, 9)
)
def test_cosine_is_one_for_itself_and_scale_free(vector: list[float], scale: float) -> None:
    """The cosine of a vector with itself, scaled, is 1, with its opposite -1."""
    assert cosine(vector, [scale * value for value in vector]) == pytest.approx(1.0)
    assert cosine(vector, [-value for value in vector]) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("recorded", "replayed", "passed"),
    [(100, 105, True), (100, 95, True), (100, 105.1, False), (100, 94.9, False), (0, 1, None), (None, 1, None),
     (math.nan, 1, None), (-1, 1, None), (math.inf, 1, None)],
)  # fmt: skip
def test_latency_passes_within_five_percent(recorded: float | None, replayed: float, passed: bool | None) -> None:
    """Latency passes within ±5 %, both ways; without a recorded latency nothing is compared."""
    assert compare_latency(recorded, replayed, LIMITS).passed is passed


@pytest.mark.parametrize(
    ("recorded", "replayed", "passed"),
    [("hit", "hit", True), ("hit", "miss", False), ("hit", None, False), (None, "hit", False), (None, None, None)],
)
def test_cache_passes_by_equal_status(recorded: str | None, replayed: str | None, passed: bool | None) -> None:
    """Cache statuses pass when equal; where neither side has one nothing is compared."""
    assert compare_cache(recorded, replayed).passed is passed


def test_a_trace_replays_against_the_same_policy(simple: Path) -> None:
    """The same policy reproduces its actions exactly: cos 1, exit code 0, a line a request and a summary."""
    result = replay(simple, "--model", SAME, "--fail-on", "actions")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("[PASS]") == 3
    assert "seq=   0  actions: cos=1.000000 max_abs=0.00e+00 [PASS]" in result.stdout
    assert "actions: 3/3 pass" in result.stdout
    assert "reflex_version: 0.11.2" in result.stdout


def test_differences_are_shown_and_gate_only_when_asked(simple: Path, policy_module: Callable[[str], str]) -> None:
    """Another policy's differences exit 0 by themselves and 3 with --fail-on; the first one is named."""
    other = policy_module(
        "def policy(r):\n return [[v * (s + 1) / 10 + (r['state'][0] > 0.1) for v in r['state']] for s in range(4)]"
    )
    assert replay(simple, "--model", other).exit_code == 0
    result = replay(simple, "--model", other, "--fail-on", "actions")
    assert result.exit_code == 3
    assert "first failing seq 2" in result.stdout
    assert "1 of 3 differ" in result.stderr


def test_the_report_is_versioned_json(simple: Path, tmp_path: Path) -> None:
    """--output writes the v1 report names with a schema version, and counts that match."""
    output = tmp_path / "report.json"
    assert replay(simple, "--model", SAME, "--diff", "all", "--output", str(output)).exit_code == 0
    report = orjson.loads(output.read_bytes())
    assert report["schema_version"] == 1
    summary = report["summary"]
    assert (summary["diff_mode"], summary["n_replayed"], summary["n_diffed"]) == ("all", 3, 3)
    assert (summary["n_pass_actions"], summary["n_pass_latency"], summary["n_pass_cache"]) == (3, 0, 0)
    assert summary["per_dim_max_abs"] == [0.0, 0.0]
    assert report["header"]["model_hash"] == "7a8b3c1d9f2e4a55"
    first = report["per_request_diffs"][0]
    assert first["seq"] == 0
    assert first["actions"] == {
        "cosine": 1.0, "max_abs_diff": 0.0, "passed": True, "per_dim_max_abs": [0.0, 0.0],
        "threshold_cos": 0.999, "threshold_max_abs": 0.001,
    }  # fmt: skip
    assert {"recorded_total_ms", "replayed_total_ms", "delta_ms", "delta_pct", "passed"} <= set(first["latency"])
    assert first["cache"] == {"recorded_status": "n/a", "replayed_status": "n/a", "passed": None}


def test_the_report_has_what_the_header_of_others_holds(tmp_path: Path) -> None:
    """Half a surrogate pair, and an integer of any size."""
    path = tmp_path / "t.jsonl"
    header, *rest = foreign_lines(notes=10**30, sampled="\ud800")
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *rest)))
    shown = json.loads(replay(path, "--model", SAME, "--json").stdout)["header"]
    assert (shown["notes"], shown["sampled"]) == (10**30, "\ud800")


def test_thresholds_are_options(simple: Path, policy_module: Callable[[str], str]) -> None:
    """Looser thresholds let a difference pass."""
    other = policy_module("def policy(r):\n return [[v * (s + 1) / 10 + 0.01 for v in r['state']] for s in range(4)]")
    strict, loose = ["--model", other, "--fail-on", "actions"], ["--max-abs", "0.02", "--min-cos", "0.9"]
    assert replay(simple, *strict).exit_code == 3
    assert replay(simple, *strict, *loose).exit_code == 0


def test_n_replays_only_the_first(simple: Path) -> None:
    """--n limits the replay to the first requests."""
    assert report_of(simple, "--model", SAME, "--n", "2")["summary"]["n_replayed"] == 2


@pytest.mark.parametrize("text", [b"", b"{", b'{"kind":"header","schema_version":9}\n', None])
def test_an_unreadable_trace_is_exit_1(tmp_path: Path, text: bytes | None) -> None:
    """A missing, malformed or unknown-version trace is exit code 1 with one line and no traceback."""
    path = tmp_path / "bad.jsonl"
    if text is not None:
        path.write_bytes(text)
    for arguments in (["--model", SAME], ["--no-replay"]):
        result = replay(path, *arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("horus-async: ")
        assert result.stderr.count("\n") == 1


def test_a_trace_damaged_in_the_middle_is_exit_1(tmp_path: Path) -> None:
    """A malformed line found while replaying is exit code 1."""
    path = write_lines(tmp_path / "trace.jsonl", foreign_lines())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"broken\n", *lines[2:]]))
    assert replay(path, "--model", SAME).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "nowhere"],
        ["--model", "no_such_module:policy"],
        [],
        ["--model", SAME, "--diff", "all", "--fail-on", "nothing"],
        ["--model", SAME, "--diff", "actions", "--fail-on", "latency"],
        ["--model", SAME, "--diff", "latency", "--fail-on", "all"],
        ["--model", SAME, "--diff", "sideways"],
        ["--model", SAME, "--n", "-1"],
        ["--model", SAME, "--max-abs", "nan"],
        ["--model", SAME, "--min-cos", "nan"],
        ["--model", SAME, "--latency-pct", "nan"],
        ["--no-replay", "--fail-on", "actions"],
        ["--model", SAME, "--image-dir", "/no/such/folder"],
    ],
)
def test_a_missing_model_and_wrong_usage_are_exit_2(simple: Path, arguments: list[str]) -> None:
    """A model that does not load and contradicting options are exit code 2."""
    assert replay(simple, *arguments).exit_code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_report_that_does_not_fit_leaves_the_one_before(simple: Path, tmp_path: Path) -> None:
    """And no half of a new one."""
    import resource

    (tmp_path / "r.json").write_text("before")
    result = subprocess.run(
        [sys.executable, "-B", "-m", "horus_async", "trace", "replay", simple, "--model", SAME, "--output", "r.json"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
    )
    assert (result.returncode, result.stderr) == (2, "horus-async: the report: cannot write r.json: File too large\n")
    assert (tmp_path / "r.json").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", simple.name]


@pytest.mark.parametrize("names", [["--output"], ["--page"], ["--output", "--page"]])
def test_a_report_overwrites_neither_the_trace_nor_the_other(simple: Path, tmp_path: Path, names: list[str]) -> None:
    """Nor does it under another name of the trace."""
    (tmp_path / "link").symlink_to(simple)
    before = simple.read_bytes()
    path = str(tmp_path / ("both" if len(names) > 1 else "link"))
    result = replay(simple, "--model", SAME, *(part for name in names for part in (name, path)))
    assert result.exit_code == 2
    assert path in result.stderr
    assert simple.read_bytes() == before


def test_a_model_that_fails_to_warm_up_is_exit_2(simple: Path, policy_module: Callable[[str], str]) -> None:
    """A policy whose warm-up raises did not load."""
    broken = policy_module("class policy:\n def act(self, o): return [[1]]\n def warm_up(self): raise OSError('gpu')")
    result = replay(simple, "--model", broken)
    assert result.exit_code == 2
    assert "gpu" in result.stderr


def test_no_replay_needs_no_model(simple: Path) -> None:
    """--no-replay shows header and counts, and exits 0."""
    result = replay(simple, "--no-replay")
    assert result.exit_code == 0
    assert "requests: 3 (0 failed)" in result.stdout


def test_a_policy_that_fails_on_every_request_triggers(simple: Path, policy_module: Callable[[str], str]) -> None:
    """Requests on which the new policy raises are failures, not requests left out."""
    broken = policy_module("def policy(r): raise KeyError('weights')")
    result = replay(simple, "--model", broken, "--fail-on", "actions")
    assert result.exit_code == 3
    assert "KeyError" in result.stdout
    assert replay(simple, "--model", broken).exit_code == 0


def test_nan_from_the_new_policy_triggers(simple: Path, policy_module: Callable[[str], str]) -> None:
    """A policy that now answers NaN never passes."""
    broken = policy_module("def policy(r): return [[float('nan')] * 2] * 4")
    assert replay(simple, "--model", broken, "--fail-on", "actions").exit_code == 3


def test_nothing_compared_triggers(tmp_path: Path, simple: Path) -> None:
    """Without a request, without images, or without a cache status, --fail-on cannot pass."""
    empty = write_lines(tmp_path / "empty.jsonl", foreign_lines(0))
    assert replay(empty, "--model", SAME, "--fail-on", "actions").exit_code == 3
    hashes = record(tmp_path / "hashes", [exchange({"state": [1.0, 2.0], "image": "aGVsbG8="})])
    result = replay(hashes, "--model", SAME, "--fail-on", "actions")
    assert result.exit_code == 3
    assert "[SKIP]" in result.stdout
    assert replay(simple, "--model", SAME, "--diff", "all", "--fail-on", "cache").exit_code == 3


def test_images_replay_from_the_trace_and_from_a_folder(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Images come out of a full trace, or by their hash out of --image-dir; a camera that is missing is skipped."""
    frame = bytes(range(200))
    text = base64.b64encode(frame).decode()
    model = policy_module("def policy(r): return [[float(len(r['image'])), float(len(r['wrist']))]]")
    result = [[float(len(text)), float(len(text))]]
    request = {"state": [1.0], "image": text, "wrist": text}
    full = record(tmp_path / "full", [exchange(request, result=result)], images=ImageMode.FULL)
    hashes = record(tmp_path / "hashes", [exchange(request, result=result)])
    assert replay(full, "--model", model, "--fail-on", "actions").exit_code == 0
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0001.jpg").write_bytes(frame)
    folder = ["--image-dir", str(tmp_path / "frames")]
    assert replay(hashes, "--model", model, "--fail-on", "actions").exit_code == 3
    assert replay(hashes, "--model", model, "--fail-on", "actions", *folder).exit_code == 0


def test_a_trace_without_any_image_replays_as_it_is(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """In image mode none requests replay without their cameras, and the report says which those were."""
    request = {"state": [1.0, 2.0], "image": "aGVsbG8="}
    path = record(tmp_path / "nothing", [exchange(request)], images=ImageMode.NONE)
    result = replay(path, "--model", SAME, "--fail-on", "actions")
    assert result.exit_code == 0
    assert "replayed without their cameras, of which the trace kept nothing: 1" in result.stdout
    assert report_of(path, "--model", SAME)["per_request_diffs"][0]["without_cameras"] == ["image"]
    needs = policy_module("def policy(r): return [[len(r['image'])]]")
    assert replay(path, "--model", needs, "--fail-on", "actions").exit_code == 3


def test_recorded_failures_have_no_counterpart(tmp_path: Path) -> None:
    """A request that failed when recorded is told apart, and does not trigger --fail-on by itself."""
    path = record(tmp_path, [exchange({"state": [1.0]}, failure="policy-error"), exchange({"state": [1.0]})])
    report = report_of(path, "--model", SAME, "--fail-on", "actions")
    assert report["summary"]["n_without_counterpart"] == 1
    assert "policy-error" in report["per_request_diffs"][0]["unlike"]
    assert replay(path, "--model", SAME, "--fail-on", "actions").exit_code == 0


def test_a_torn_trace_replays_with_a_note(simple: Path) -> None:
    """A torn trace replays up to its end and says so."""
    path = simple.parent / "torn.jsonl"
    write_lines(path, foreign_lines())
    path.write_bytes(path.read_bytes()[:-250])
    result = replay(path, "--model", SAME, "--fail-on", "actions")
    assert result.exit_code == 0
    assert "torn" in result.stdout


def test_cache_statuses_are_compared(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """A changed cache status is a difference of the cache mode."""
    answer = {"actions": [[1.0]], "cache": {"status": "hit"}}
    path = record(tmp_path / "traces", [exchange({"state": [1.0]}, result=answer)])
    for status, code in (("hit", 0), ("miss", 3)):
        model = policy_module(f"def policy(r): return {{'actions': [[1.0]], 'cache': {{'status': '{status}'}}}}")
        assert replay(path, "--model", model, "--diff", "cache", "--fail-on", "cache").exit_code == code


def test_an_episode_that_the_line_alone_names_begins_with_a_reset(
    tmp_path: Path, policy_module: Callable[[str], str]
) -> None:
    """As where a connection is an episode, and the observation names none."""
    lines = foreign_lines(4)
    for number, line in enumerate(lines[1:5]):
        line["episode_id"] = f"connection {number // 2}"
        line["response"] = {"actions": [[float(number % 2)]]}
    path = write_lines(tmp_path / "t.jsonl", lines)
    counting = policy_module(
        "class policy:\n"
        "    def reset(self, episode): self.count = -1\n"
        "    def act(self, request):\n"
        "        self.count += 1\n"
        "        return [[float(self.count)]]\n"
    )
    assert replay(path, "--model", counting, "--fail-on", "actions").exit_code == 0


def test_the_error_of_a_policy_shows_nothing_of_an_image(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """Neither of one that the trace kept, nor where it was found in a folder."""
    frame = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    text = base64.b64encode(frame).decode()
    model = policy_module("def policy(r): raise ValueError(f'no model for {r}')")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(frame)
    for images in (ImageMode.FULL, ImageMode.HASH_ONLY):
        path = record(tmp_path / images.value, [exchange({"state": [1.0], "image": text})], images=images)
        shown = replay(path, "--model", model, "--image-dir", str(tmp_path / "frames")).output
        assert "no model for" in shown
        assert not any(text[start : start + 24] in shown for start in range(len(text) - 24))


COUNTING = """
class Policy:
    def reset(self, episode_id):
        self.count = 0

    def act(self, request):
        self.count += 1
        return [[self.count, 0.0]]

policy = Policy
"""


def test_the_parts_of_a_session_replay_as_one_file(tmp_path: Path, policy_module: Callable[[str], str]) -> None:
    """A later part alone begins in the middle of an episode, which is said to a policy that holds state."""
    model = policy_module(COUNTING)
    paths = []
    for part in range(3):
        lines = foreign_lines(3, horus_version="1", part=part)
        for number, line in enumerate(lines[1:4], 3 * part):
            line["seq"] = number
            line["episode_id"] = "e"
            line["response"]["actions"] = [[number + 1, 0.0]]
        paths.append(write_lines(tmp_path / f"t.part{part}.jsonl.gz", lines))
    alone = replay(paths[1], "--model", model, "--fail-on", "actions")
    assert alone.exit_code == 3
    assert "note: this is part 1 of a session, and the policy holds state" in alone.stdout
    whole = tmp_path / "whole.jsonl.gz"
    whole.write_bytes(b"".join(path.read_bytes() for path in paths))
    for jobs in ("1", "2"):
        result = replay(whole, "--model", model, "--fail-on", "actions", "--jobs", jobs)
        assert (result.exit_code, "of a session" in result.stdout) == (0, False)
        assert "actions: 9/9 pass" in result.stdout
    assert "of a session" not in replay(paths[1], "--model", SAME).stdout
    whole.write_bytes(paths[0].read_bytes() + paths[2].read_bytes())
    assert "after seq 2 comes 6" in replay(whole, "--model", model, "--fail-on", "actions").stderr


def test_two_sessions_in_one_file_are_no_trace(tmp_path: Path) -> None:
    """What the header says is not true of the second one, whose requests nobody must take for those of the first."""
    path = tmp_path / "t.jsonl"
    write_lines(path, foreign_lines() + foreign_lines(session_id="another"))
    result = replay(path, "--model", SAME)
    assert result.exit_code == 1
    assert "line 7 begins another session" in result.stderr
