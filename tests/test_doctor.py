"""``horus-async doctor``: what it says of machines in all states, and one real run."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from horus_async import Topic
from horus_async.cli import doctor as command
from horus_async.cli import main
from horus_async.cli.doctor import EXTRAS, examine
from horus_async.cli.support.finding import Finding, Verdict
from horus_async.cli.support.machine import TICK_NS, Folder, Machine, Ring, Space
from horus_async.clock.system import monotonic_ns

from .realtime.fake_machine import FakeMachine

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
OURS = Path("/dev/shm/horus-7")

KERNEL = {
    "/proc/version": "Linux version 6.12 #1 SMP PREEMPT_RT",
    "/proc/sys/kernel/sched_rt_runtime_us": "950000",
    "/proc/sys/kernel/sched_rt_period_us": "1000000",
}

needs_proc_locks = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system lists no locks")


class _Fake(Machine):
    """A machine in perfect order, but for what a test changes."""

    user = 7

    def __init__(self, **changes: Any) -> None:
        self.version = (3, 12, 1)
        self.needed: list[str] | None = [
            "attrs>=24.1",
            'numpy>=1.26; extra == "numpy"',
            'pytest>=8; extra == "test"',
        ]
        self.installed = {"attrs": "25.3.0", "numpy": "2.0.1"}
        self.folders: dict[Path, Folder | None] = {}
        self.spaces: dict[Path, Space | None] = {}
        self.files = {
            "/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
            **KERNEL,
        }
        self.cores = ["performance"] * 4
        self.found: list[Ring] = []
        self.unread: list[str] = []
        self.late: Callable[[], tuple[list[int], list[int]]] = lambda: ([20_000] * 100, [150_000] * 100)
        self.shm = OURS
        self.core = ("", False)
        self.real_time = FakeMachine()  # type: ignore[assignment]
        for name, value in changes.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def python(self) -> tuple[int, int, int]:
        return self.version

    def requirements(self) -> list[str] | None:
        return self.needed

    def version_of(self, package: str) -> str | None:
        return self.installed.get(package)

    def native(self) -> tuple[str, bool]:
        return self.core

    def topics_folder(self) -> Path:
        return self.shm

    def recordings_folder(self) -> Path:
        return Path("/data/recordings")

    def blackbox_folder(self) -> Path:
        return Path("/data/blackbox")

    def folder(self, path: Path) -> Folder | None:
        return self.folders.get(path, folder(path))

    def space(self, path: Path) -> Space | None:
        return self.spaces.get(path, Space(8 * GIB, 4 * GIB))

    def rings(self) -> list[Ring]:
        return self.found

    def unreadable_rings(self) -> list[str]:
        return self.unread

    def text(self, path: str) -> str | None:
        return self.files.get(path)

    def governors(self) -> list[str]:
        return self.cores

    def lateness(self) -> tuple[list[int], list[int]]:
        return self.late()


def folder(path: Path, **changes: Any) -> Folder:
    """A folder as it should be, but for the changes."""
    good: dict[str, Any] = {
        "path": path,
        "exists": True,
        "is_folder": True,
        "writable": True,
        "owner": 7,
        "mode": 0o700,
        "is_link": False,
    }
    return Folder(**{**good, **changes})


def finding(check: str, **changes: Any) -> Finding:
    """What is said of one thing on a machine with these changes."""
    (found,) = [finding for finding in examine(_Fake(**changes)) if finding.check == check]
    return found


def _no_timer() -> tuple[list[int], list[int]]:
    raise OSError(1, "Operation not permitted")


def test_a_good_machine_is_fine() -> None:
    """Every line is ok, and there is one for each thing to look at."""
    found = list(examine(_Fake()))

    assert {finding.check for finding in found} == {
        "python",
        "packages",
        "extra numpy",
        "native core",
        "shared memory",
        "topics",
        "timers",
        "clock source",
        "CPU governor",
        "RT priority",
        "locked memory",
        "kernel",
        "RT share",
        "isolated CPUs",
        "recordings",
        "black boxes",
    }
    assert {finding.verdict for finding in found} == {Verdict.OK}


def test_a_machine_that_tells_nothing_is_unknown() -> None:
    """Without /sys, /proc and package metadata nothing crashes and nothing is called wrong."""
    nothing = FakeMachine()
    nothing.has_fifo = False
    found = [
        finding
        for finding in examine(
            _Fake(
                files={},
                cores=[],
                needed=None,
                found=[Ring(OURS / "a/b", 1, live=None)],
                spaces=dict.fromkeys((OURS.parent, Path("/data/recordings"), Path("/data/blackbox"))),
                real_time=nothing,
            )
        )
        if finding.check not in {"python", "native core", "timers"}
    ]

    assert {finding.verdict for finding in found} == {Verdict.UNKNOWN}


SICK = {
    "old python": ("python", Verdict.BROKEN, "3.10.4", "3.11", {"version": (3, 10, 4)}),
    "new python": ("python", Verdict.WARNING, "3.15.0", "3.14", {"version": (3, 15, 0)}),
    "missing package": ("packages", Verdict.BROKEN, "attrs is missing", "pip install", {"installed": {}}),
    "old package": ("packages", Verdict.BROKEN, "attrs 23.2", "pip install", {"installed": {"attrs": "23.2"}}),
    "old extra": (
        "extra numpy",
        Verdict.WARNING,
        "numpy 1.9",
        "[numpy]'",
        {"installed": {"attrs": "24.1", "numpy": "1.9"}},
    ),
    "native core for another Python": (
        "native core",
        Verdict.WARNING,
        "cannot be loaded: no such symbol: Python does its work",
        "install horus-async again",
        {"core": ("cannot be loaded: no such symbol", True)},
    ),
    "full shared memory": (
        "shared memory",
        Verdict.BROKEN,
        "1 MiB of",
        "--shm-size",
        {"spaces": {OURS.parent: Space(64 << 20, 1 << 20)}},
    ),
    "little shared memory": (
        "shared memory",
        Verdict.WARNING,
        "60 MiB of 64 MiB",
        "--shm-size",
        {"spaces": {OURS.parent: Space(64 << 20, 60 << 20)}},
    ),
    "no writing to shared memory": (
        "shared memory",
        Verdict.BROKEN,
        "/dev/shm is not writable",
        "chmod",
        {
            "folders": {
                OURS: folder(OURS.parent, exists=False, writable=False),
                OURS.parent: folder(OURS.parent, writable=False),
            }
        },
    ),
    "foreign folder": (
        "shared memory",
        Verdict.BROKEN,
        "belongs to user 8",
        "rm -r",
        {"folders": {OURS: folder(OURS, owner=8)}},
    ),
    "link": ("shared memory", Verdict.BROKEN, "a link", "rm", {"folders": {OURS: folder(OURS, is_link=True)}}),
    "left over": (
        "topics",
        Verdict.WARNING,
        "1 with 5 B belongs to a dead process",
        " topic clean --namespace a",
        {"found": [Ring(OURS / "a/b", 5, live=False), Ring(OURS / "a/c", 6, live=True)]},
    ),
    "left over in many namespaces": (
        "topics",
        Verdict.WARNING,
        "5 with 25 B belong to dead processes",
        " topic clean --namespace 2; and 2 more namespaces",
        {"found": [Ring(OURS / str(number) / "b", 5, live=False) for number in range(5)]},
    ),
    "open to others": (
        "shared memory",
        Verdict.WARNING,
        "open to others (mode 0755)",
        "chmod 700 /dev/shm/horus-7",
        {"folders": {OURS: folder(OURS, mode=0o755)}},
    ),
    "removable by others": (
        "shared memory",
        Verdict.WARNING,
        "others may remove /dev/shm/horus-7: /dev/shm has mode 0777",
        "chmod 1777 /dev/shm",
        {"folders": {OURS.parent: folder(OURS.parent, owner=0, mode=0o777)}},
    ),
    "late timer": (
        "timers",
        Verdict.WARNING,
        "p99 2000 µs",
        "cores",
        {"late": lambda: ([1000] * 90 + [2_000_000] * 10, [3_000_000] * 100)},
    ),
    "no timer": ("timers", Verdict.BROKEN, "not permitted", "seccomp", {"late": _no_timer}),
    "slow clock": (
        "clock source",
        Verdict.WARNING,
        "hpet",
        "dmesg",
        {"files": {**KERNEL, "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}},
    ),
    "slow cores": (
        "CPU governor",
        Verdict.WARNING,
        "powersave on 1 core",
        "cpupower",
        {"cores": ["performance", "powersave"]},
    ),
    "no writing": (
        "recordings",
        Verdict.BROKEN,
        "not writable",
        "HORUS_RECORDINGS_DIR",
        {"folders": {Path("/data/recordings"): folder(Path("/data"), exists=False, writable=False)}},
    ),
    "a file in the way": (
        "black boxes",
        Verdict.BROKEN,
        "not a folder",
        "HORUS_BLACKBOX_DIR",
        {"folders": {Path("/data/blackbox"): folder(Path("/data"), is_folder=False)}},
    ),
    "out of reach": (
        "black boxes",
        Verdict.BROKEN,
        "cannot be reached",
        "HORUS_BLACKBOX_DIR",
        {"folders": {Path("/data/blackbox"): None}},
    ),
    "nearly full disk": (
        "recordings",
        Verdict.WARNING,
        "500 MiB",
        "make room",
        {"spaces": {Path("/data/recordings"): Space(GIB, 500 << 20)}},
    ),
    "full disk": (
        "recordings",
        Verdict.BROKEN,
        "2 MiB",
        "make room",
        {"spaces": {Path("/data/recordings"): Space(GIB, 2 << 20)}},
    ),
}


@pytest.mark.parametrize("case", SICK.values(), ids=SICK)
def test_each_illness_is_named_with_its_cure(case: tuple[str, Verdict, str, str, dict[str, Any]]) -> None:
    """One thing wrong gives one line that says what and what to do; the rest stays ok."""
    check, verdict, detail, advice, changes = case
    found = list(examine(_Fake(**changes)))
    (sick,) = [finding for finding in found if finding.check == check]

    assert sick.verdict is verdict
    assert detail in sick.detail
    assert advice in sick.advice
    assert all(finding.verdict is Verdict.OK for finding in found if finding is not sick)


def test_size_and_permissions_are_reported() -> None:
    """The line shows room and privacy; the JSON has both numbers and both modes, also before the folder is made."""
    sticky = folder(OURS.parent, owner=0, mode=0o1777)
    made = finding("shared memory", folders={OURS.parent: sticky})
    absent = finding("shared memory", folders={OURS: folder(OURS.parent, exists=False), OURS.parent: sticky})

    assert made.detail == "/dev/shm: 4.0 GiB of 8.0 GiB free, horus-7 is private"
    assert (made.measured["mode"], made.measured["parent_mode"]) == ("0700", "1777")
    assert (made.measured["total_bytes"], made.measured["free_bytes"]) == (8 * GIB, 4 * GIB)
    assert absent.detail == "/dev/shm: 4.0 GiB of 8.0 GiB free"
    assert absent.measured["mode"] is None


def test_shared_memory_on_a_disk_is_a_warning() -> None:
    """Where Linux has no /dev/shm, topics work from the temporary folder, and it is said."""
    found = finding("shared memory", shm=Path("/tmp/horus-7"))

    assert found.verdict is (Verdict.WARNING if sys.platform == "linux" else Verdict.OK)


def test_an_extra_that_is_not_there_is_no_illness() -> None:
    """The line says what the extra is for and how to get it."""
    found = finding("extra numpy", installed={"attrs": "24.1"})

    assert found.verdict is Verdict.OK
    assert EXTRAS["numpy"] in found.detail
    assert "[numpy]'" in found.advice


@pytest.mark.parametrize("version", ["24.1", "24.1.0", "24.10", "25.0rc1"])
def test_versions_are_compared_as_numbers(version: str) -> None:
    """24.10 is newer than 24.1, and 24.1.0 is the same."""
    assert finding("packages", installed={"attrs": version, "numpy": "2.0"}).verdict is Verdict.OK


def test_every_extra_is_explained_or_for_development() -> None:
    """A new extra in pyproject.toml needs a word here."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(tomllib.loads(text)["project"]["optional-dependencies"])

    assert extras >= EXTRAS.keys()
    assert extras - EXTRAS.keys() == {"test", "lint", "bench", "dev", "fuzz"}


@pytest.mark.parametrize(
    ("changes", "code", "summary"),
    [
        ({}, 0, "all is well"),
        ({"cores": []}, 0, "all is well"),
        ({"cores": ["powersave"]}, 1, "1 warning"),
        ({"cores": ["powersave"], "version": (3, 9, 0)}, 2, "1 broken, 1 warning"),
    ],
)
def test_exit_code_and_summary(changes: dict[str, Any], code: int, summary: str, monkeypatch: Any) -> None:
    """0 fine, 1 warnings, 2 broken; unknown is fine."""
    monkeypatch.setattr(command, "Machine", lambda: _Fake(**changes))
    shown = CliRunner().invoke(main, ["doctor"])
    as_json = CliRunner().invoke(main, ["doctor", "--json"])

    assert shown.exit_code == as_json.exit_code == code
    assert shown.output.splitlines()[-1] == summary
    assert json.loads(as_json.output)["verdict"] == ("ok", "warning", "broken")[code]


def test_help_has_an_example() -> None:
    """``--help`` shows how to call it, and the main help lists it."""
    assert "Example: horus-async doctor" in CliRunner().invoke(main, ["doctor", "--help"]).output
    assert "doctor" in CliRunner().invoke(main, ["--help"]).output


def test_a_real_run() -> None:
    """On this machine, whatever its state, it gives a report that agrees with its exit code, and changes nothing."""
    run = subprocess.run(
        [sys.executable, "-m", "horus_async", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    report = json.loads(run.stdout)
    checks = {check["check"]: check for check in report["checks"]}

    assert run.stderr == ""
    assert run.returncode == ("ok", "warning", "broken").index(report["verdict"])
    assert checks["packages"]["verdict"] in {"ok", "unknown"}
    assert checks["timers"]["ticks"] == 200
    assert checks["timers"]["timer"]["median_us"] >= 0
    assert not Path(os.environ["HORUS_RECORDINGS_DIR"]).exists()
    assert not Path(os.environ["HORUS_BLACKBOX_DIR"]).exists()


@needs_proc_locks
def test_live_and_left_over_memory_are_told_apart(namespace: str) -> None:
    """The ring of an open topic is live, and one whose process was killed is not."""
    script = """
import signal
from horus_async import Topic
topic = Topic("gone")
topic.send(1)
print(flush=True)
signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with Topic("here") as topic:
        topic.send(1)
        before = _live(namespace)
        process.kill()
        process.communicate()
        after = _live(namespace)
    shutil.rmtree(Machine().topics_folder() / namespace, ignore_errors=True)  # the last to close cleans up

    assert (before["here"], before["gone"]) == (True, True)
    assert (after["here"], after["gone"]) == (True, False)


def _live(namespace: str) -> dict[str, bool | None]:
    """Whether the ring of each topic of the namespace is live."""
    rings = [ring for ring in Machine().rings() if ring.path.parent.name == namespace]
    return {ring.path.name.split("@")[0]: ring.live for ring in rings}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    """A folder that is not ours to write in is seen as such."""
    tmp_path.chmod(0o500)
    found = Machine().folder(tmp_path / "deeper" / "still")
    tmp_path.chmod(0o700)

    assert found is not None
    assert not found.writable


def test_what_a_folder_is(tmp_path: Path) -> None:
    """A folder to be made is judged by the one above it; links and files are told from folders."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    machine = Machine()

    deeper = machine.folder(tmp_path / "a" / "b")
    below = machine.folder(tmp_path / "file" / "a")
    link = machine.folder(tmp_path / "link")

    assert deeper is not None
    assert (deeper.path, deeper.exists, deeper.is_folder, deeper.writable) == (tmp_path, False, True, True)
    assert below is not None
    assert not below.is_folder
    assert link is not None
    assert link.is_link
    assert link.is_folder


def test_files_that_are_not_there() -> None:
    """A file or file system that the machine does not have is None."""
    assert Machine().text("/no/such/file") is None
    assert Machine().space(Path("/no/such/folder")) is None
    assert Machine().version_of("no-such-package-anywhere") is None


def test_topics_may_end_while_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace's folder that has gone since the folders were listed is passed over."""
    for name in ("a", "gone", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t@4d2-1-1.0").write_bytes(bytes(16))

    def removing(look: Any) -> Any:
        def first_remove(path: Any = ".") -> Any:
            if str(path).endswith("gone"):
                shutil.rmtree(path, ignore_errors=True)
            return look(path)

        return first_remove

    machine = Machine()
    monkeypatch.setattr(machine, "topics_folder", lambda: tmp_path)
    monkeypatch.setattr(os, "scandir", removing(os.scandir))
    monkeypatch.setattr(os, "listdir", removing(os.listdir))
    assert [ring.path.parent.name for ring in machine.rings()] == ["a", "z"]


def test_lateness_where_every_tick_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine: each question for the time comes after the next tick."""
    times = itertools.count(monotonic_ns(), 5 * TICK_NS)
    monkeypatch.setattr("horus_async.cli.support.machine.monotonic_ns", lambda: next(times))
    ours, plain = Machine().lateness()
    assert len(ours) == len(plain) == 200
