"""``horus-async doctor``: is this machine fit to run robots, and if not, what can be done?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from horus_async.errors import HorusError
from horus_async.hints.installed import install

from .health.real_time import check_real_time
from .support.finding import MIB, Finding, Verdict, size
from .support.machine import Machine
from .support.render import print_json
from .support.shared_memory import check_shared_memory, check_topics
from .terminal.table import fold
from .terminal.text import styled, tell, tell_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 14)

EXTRAS = {
    "numpy": "arrays in messages, np_rng()",
    "serve": "horus-async serve",
    "otel": "OpenTelemetry spans of policy requests",
    "view": "plots on the pages of horus-async view",
    "parquet": "Parquet files",
    "sql": "record sql",
    "pandas": "sessions as data frames",
    "mcap": "MCAP files, as of Foxglove",
    "foxglove": "horus-async foxglove: viewers of running robots and sessions",
    "bags": "import of ROS messages and bags",
    "protobuf": "import of protobuf messages in MCAP",
    "ulog": "import of PX4 logs",
    "lerobot": "datasets for LeRobot from traces",
    "hardware": "drivers in examples/hardware: serial, CAN, camera, MQTT, HTTP",
    "sim": "the simulated arm of examples/policy",
}
"""What each extra is for; those for developing this package are left out."""

_DISK_LITTLE, _DISK_NONE = 1024 * MIB, 32 * MIB
_LATE_NS = 1_000_000
_GOOD_CLOCKS = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource", "xen"}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;>]*(?:>=\s*([0-9.]+))?[^;]*(?:;.*extra\s*==\s*[\"']([^\"']+))?")


_EXIT = {Verdict.OK: 0, Verdict.UNKNOWN: 0, Verdict.WARNING: 1, Verdict.BROKEN: 2}
_DETAIL = 24
"""Where what was found begins in a line."""
_COLOURS = {Verdict.OK: "green", Verdict.UNKNOWN: "cyan", Verdict.WARNING: "yellow", Verdict.BROKEN: "red"}


def examine(machine: Machine) -> Iterator[Finding]:
    """All findings about a machine, in the order they are shown in."""
    yield check_python(machine)
    yield from check_packages(machine)
    yield check_native(machine)
    yield check_shared_memory(machine)
    yield check_topics(machine)
    yield check_timers(machine)
    yield check_clock(machine)
    yield check_governor(machine)
    yield from check_real_time(machine)
    yield check_place(machine, "recordings", machine.recordings_folder, "HORUS_RECORDINGS_DIR")
    yield check_place(machine, "black boxes", machine.blackbox_folder, "HORUS_BLACKBOX_DIR")


def check_python(machine: Machine) -> Finding:
    """Whether this package is tested with the interpreter's version."""
    version = machine.python()
    shown = ".".join(map(str, version))
    supported = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    if version[:2] < OLDEST:
        return Finding("python", Verdict.BROKEN, f"{shown} is too old", f"install Python {supported}")
    if version[:2] > NEWEST:
        return Finding("python", Verdict.WARNING, f"{shown} is untested", f"tested versions are {supported}")
    return Finding("python", Verdict.OK, shown)


def check_packages(machine: Machine) -> Iterator[Finding]:
    """The required packages, then each extra."""
    requirements = machine.requirements()
    if requirements is None:
        advice = "pip install -e . in the checkout"
        yield Finding("packages", Verdict.UNKNOWN, "horus-async itself is not installed", advice)
        return
    groups: dict[str, list[tuple[str, str]]] = {"": [], **{extra: [] for extra in EXTRAS}}
    for text in requirements:
        found = _REQUIREMENT.match(text)
        if found and (found[3] or "") in groups:
            groups[found[3] or ""].append((found[1], found[2] or "0"))
    for extra, needed in groups.items():
        if needed:
            yield _check_group(machine, extra, needed)


def _check_group(machine: Machine, extra: str, needed: list[tuple[str, str]]) -> Finding:
    versions = {name: machine.version_of(name) for name, _ in needed}
    missing = [name for name, version in versions.items() if version is None]
    old = [
        f"{name} {version} (needs {least})"
        for name, least in needed
        if (version := versions[name]) is not None and _numbers(version) < _numbers(least)
    ]
    problems = [f"{name} is missing" for name in missing] + [f"{text} is too old" for text in old]
    check = f"extra {extra}" if extra else "packages"
    advice = install(extra)
    measured = {"versions": versions}
    if not problems:
        shown = ", ".join(f"{name} {version}" for name, version in versions.items())
        return Finding(check, Verdict.OK, shown, measured=measured)
    if extra and not old:  # extras are optional
        detail = f"not installed; it is for {EXTRAS[extra]}"
        return Finding(check, Verdict.OK, detail, f"if you want it: {advice}", measured)
    return Finding(check, Verdict.WARNING if extra else Verdict.BROKEN, ", ".join(problems), advice, measured)


def check_native(machine: Machine) -> Finding:
    """Whether the native core carries the messages, or Python does."""
    reason, broken = machine.native()
    measured = {"in_use": not reason}
    if not reason:
        return Finding("native core", Verdict.OK, "in use", measured=measured)
    detail = f"{reason}: Python does its work"
    if broken:
        return Finding("native core", Verdict.WARNING, detail, "install horus-async again, for this Python", measured)
    advice = "" if "switched" in reason else "if you want it: install a C compiler, and horus-async again"
    return Finding("native core", Verdict.OK, detail, advice, measured)


def check_timers(machine: Machine) -> Finding:
    """How late ticks at 1 kHz start, compared with plain sleeping."""
    try:
        ours, plain = machine.lateness()
    except OSError as error:
        advice = "ticks cannot be timed here; allow timerfd_create (a seccomp profile may forbid it)"
        return Finding("timers", Verdict.BROKEN, f"no timer: {error}", advice)
    late, sleeping = _quantiles(ours), _quantiles(plain)
    measured = {"ticks": len(ours), "tick_rate": 1000, "timer": late, "sleep": sleeping}
    detail = (
        f"ticks at 1 kHz start {late['median_us']:.0f} µs late, p99 {late['p99_us']:.0f} µs "
        f"(plain sleeping: {sleeping['median_us']:.0f} µs, p99 {sleeping['p99_us']:.0f} µs)"
    )
    if late["p99_us"] * 1000 > _LATE_NS:
        advice = "stop other programs, or give the robot its own cores (isolcpus, taskset); retry on an idle machine"
        return Finding("timers", Verdict.WARNING, detail, advice, measured)
    return Finding("timers", Verdict.OK, detail, measured=measured)


def check_clock(machine: Machine) -> Finding:
    """Where the kernel reads the time from. Some sources cost a system call and microseconds per read."""
    source = machine.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if not source:
        return Finding("clock source", Verdict.UNKNOWN, "the system does not say")
    if source in _GOOD_CLOCKS:
        return Finding("clock source", Verdict.OK, source)
    advice = "find out why the kernel rejected a faster one: dmesg | grep -i clocksource"
    return Finding("clock source", Verdict.WARNING, f"{source}, which is slow to read", advice)


def check_governor(machine: Machine) -> Finding:
    """Whether cores slow down between ticks."""
    governors = machine.governors()
    if not governors:
        return Finding("CPU governor", Verdict.UNKNOWN, "the system does not say")
    kinds = sorted(set(governors))
    counts = {kind: governors.count(kind) for kind in kinds}
    detail = ", ".join(f"{kind} on {count} core{'' if count == 1 else 's'}" for kind, count in counts.items())
    if kinds == ["performance"]:
        return Finding("CPU governor", Verdict.OK, detail)
    advice = "cores that slow down when idle wake up late: sudo cpupower frequency-set -g performance"
    return Finding("CPU governor", Verdict.WARNING, detail, advice)


def check_place(machine: Machine, check: str, folder: Callable[[], Path], variable: str) -> Finding:
    """As `check_disk`, where there may be no home folder either."""
    try:
        path = folder()
    except HorusError as error:
        return Finding(check, Verdict.BROKEN, str(error).partition(";")[0], f"set {variable} to a folder of yours")
    return check_disk(machine, check, path, variable)


def check_disk(machine: Machine, check: str, path: Path, variable: str) -> Finding:
    """Whether a folder exists or can be created, is writable, and has room."""
    folder = machine.folder(path)
    space = machine.space(folder.path) if folder else None
    elsewhere = f"set {variable} to a folder of yours"
    if folder is None:
        return Finding(check, Verdict.BROKEN, f"{path} cannot be reached", elsewhere)
    if not folder.is_folder:
        return Finding(check, Verdict.BROKEN, f"{folder.path} is not a folder", elsewhere)
    if not folder.writable:
        return Finding(check, Verdict.BROKEN, f"{folder.path} is not writable", f"chown or chmod it, or {elsewhere}")
    if space is None:
        return Finding(check, Verdict.UNKNOWN, f"{path}: the system does not say how much room there is")
    measured = {"folder": str(path), "free_bytes": space.free}
    detail = f"{path}: {size(space.free)} free" + ("" if folder.exists else ", created on first use")
    if space.free < _DISK_LITTLE:
        verdict = Verdict.BROKEN if space.free < _DISK_NONE else Verdict.WARNING
        return Finding(check, verdict, detail, f"make room, or {elsewhere}", measured)
    return Finding(check, Verdict.OK, detail, measured=measured)


def _quantiles(late_ns: list[int]) -> dict[str, float]:
    ordered = sorted(late_ns)
    last = len(ordered) - 1
    return {
        "median_us": ordered[last // 2] / 1000,
        "p99_us": ordered[last * 99 // 100] / 1000,
        "max_us": ordered[last] / 1000,
    }


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:  # 1.0 is 1
        numbers.pop()
    return tuple(numbers)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: verdict, checks.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool) -> None:
    """Check this machine's shared memory, timers, clock, real time, Python, packages and folders, and say what to do.

    Needs no privileges, changes nothing and takes about a second. Exit code 0: fine; 1: there are warnings;
    2: something is broken.

    Example: horus-async doctor --json
    """
    findings = []
    for finding in examine(Machine()):
        findings.append(finding)
        if not as_json:
            _show(finding)
    worst = max((finding.verdict for finding in findings), key=lambda verdict: (_EXIT[verdict], verdict))
    verdict = worst if _EXIT[worst] else Verdict.OK
    if as_json:
        print_json({"verdict": verdict, "checks": [_as_json(finding) for finding in findings]})
    else:
        broken, warnings = _count(findings, Verdict.BROKEN), _count(findings, Verdict.WARNING)
        counts = [f"{broken} broken"] if broken else []
        counts += [f"{warnings} warning{'' if warnings == 1 else 's'}"] if warnings else []
        tell(", ".join(counts) or "all is well")
    context.exit(_EXIT[verdict])


def _count(findings: list[Finding], verdict: Verdict) -> int:
    return sum(finding.verdict is verdict for finding in findings)


def _show(finding: Finding) -> None:
    first, *others = fold(f"{finding.verdict:<8} {finding.check:<14} {finding.detail}", indent=_DETAIL)
    tell(styled(first[:8], fg=_COLOURS[finding.verdict]), first[8:])
    tell_lines(others)
    if finding.advice:
        tell_lines(fold(f"{'':<{_DETAIL}}-> {finding.advice}", indent=_DETAIL + 3))


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "detail": finding.detail,
        "advice": finding.advice or None,
        **finding.measured,
    }
