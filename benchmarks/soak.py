"""``python -m benchmarks.soak NAME ...|all --minutes N [--seed N]``: the robustness tests, for as long as you like.

A soak is a series of laps, each with its own seed and folder. It prints how many there were, the sums of what they
counted, and the median, 99th percentile and maximum of what they measured in ms. A lap that fails ends its soak: its
seed and folder are printed, the folder is kept, and the exit code is 1. ``--seed`` with that seed repeats it.

The soaks whose names begin with ``fuzz-`` (``fuzz`` for all of them) are fuzzers, see ``benchmarks.fuzz``: each is a
process that reads as many inputs as ``--count`` or ``--seconds`` say. Each kind of fault is printed once, with the file
of its input and the command that repeats it. With ``atheris`` (``pip install -e '.[fuzz]'``) they are guided by the
code that inputs reach; without it, or with ``--plain``, they change valid inputs at random, which is quicker.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .compare import percentile
from .fuzz.guided import is_there
from .fuzz.rounds import again
from .fuzz.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Lap = Callable[[Path, int], Mapping[str, float]]
    """Takes an empty folder and a seed, returns counts and ``…_ms``, and raises on a violation."""


@frozen
class Soak:
    """One series of laps."""

    what: str
    """What it shows."""
    function: str = ""
    """Its lap: ``module:function``."""
    tests: tuple[str, ...] = ()
    """Tests that are its lap if there is no function."""
    in_memory: bool = False
    """Its files need no disk, which costs more time than reading them."""


SOAKS = {
    "durability": Soak("recordings that are killed hold what was acknowledged", "durability:kill_a_recording"),
    "driver": Soak(
        "what a thread, a background task and an endless tick send is recorded up to a kill, at flat memory",
        "driver:kill_a_driver",
    ),
    "reader": Soak(
        "a damaged file gives recorded data or an error of ours, in bounded memory",
        "damage:fuzz_reader",
        in_memory=True,
    ),
    "mutations": Soak(
        "whatever is changed in a session, a check says that it is whole only if it reads as before",
        "mutations:check_mutations",
        in_memory=True,
    ),
    "cuts": Soak(
        "a file cut anywhere gives its whole frames, so with a bit of its header",
        "damage:cut_everywhere",
        in_memory=True,
    ),
    "commands": Soak("damaged sessions give an exit code and a line, no traceback", "damage:fuzz_commands"),
    "errors": Soak("each call to the system fails: the run goes on, gap lines are exact", "faults:fail_each_call"),
    "full": Soak("a full disk: the same", "faults:fill_the_disk"),
    "images": Soak("after a kill or a power cut all opens, and has what was flushed", "power_cuts:crash_images"),
    "topics": Soak(
        "no message is torn, and killed processes harm nobody else",
        tests=(
            "tests/topics/test_hunts.py::test_no_reader_sees_a_torn_message",
            "tests/topics/test_hunts.py::test_random_kills_harm_nobody_else",
            "tests/topics/test_turn.py",
        ),
    ),
    "rings": Soak(
        "a mutated ring or a file in its place gives messages that were sent, or is left out, in bounded steps",
        "ring_damage:spoil_all",
    ),
    "blackbox": Soak("a killed process leaves its black box", tests=("tests/blackbox/test_file.py::test_kill_nine",)),
}


def main() -> int:
    """Run the soaks asked for."""
    options = _parser().parse_args()
    chosen = dict.fromkeys(options.names)
    if "all" in chosen:
        chosen = dict.fromkeys([*SOAKS, *TARGETS])
    if "fuzz" in chosen:
        chosen = dict.fromkeys([*(name for name in chosen if name != "fuzz"), *TARGETS])
    seconds = options.seconds if options.seconds is not None else options.minutes * 60
    fuzzing = Fuzzing(options.seed, options.count, None if options.count else seconds, options.plain, options.input)
    passed = [
        run_fuzzer(name, fuzzing) if name in TARGETS else run_soak(name, seconds / 60, options.seed) for name in chosen
    ]
    return 0 if all(passed) else 1


def _parser() -> argparse.ArgumentParser:
    soaks = "; ".join(f"{name}: {soak.what}" for name, soak in SOAKS.items())
    fuzzers = "; ".join(f"{name}: {target.what}" for name, target in TARGETS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=f"Robustness tests. {soaks}. Fuzzers of readers: {fuzzers}."
    )
    names = [*SOAKS, *TARGETS, "fuzz", "all"]
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help="which; fuzz for all fuzzers, or all")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each (default 1)")
    parser.add_argument("--seconds", type=float, help="of each, instead")
    parser.add_argument("--count", type=int, help="fuzzers: so many inputs, however long it takes")
    parser.add_argument("--seed", type=int, default=0, help="of the first lap (default 0)")
    parser.add_argument("--plain", action="store_true", help="fuzzers: change at random, without atheris")
    parser.add_argument("--input", type=Path, metavar="FILE", help="a fuzzer: read this one input again")
    return parser


@frozen
class Fuzzing:
    """How fuzzers run."""

    seed: int = 0
    count: int | None = None
    seconds: float | None = None
    plain: bool = False
    input: Path | None = None


def run_fuzzer(name: str, fuzzing: Fuzzing) -> bool:
    """Fuzz one reader in a process of its own. Returns whether the law held."""
    guided = not fuzzing.plain and is_there()
    how = "guided by atheris" if guided else "at random" if fuzzing.plain else "at random, as atheris is not installed"
    print(f"{name}: {TARGETS[name].what}; seed {fuzzing.seed}, {how}", flush=True)
    kept = Path(tempfile.mkdtemp(prefix=f"horus-{name}-"))
    options = {
        "seed": fuzzing.seed, "count": fuzzing.count, "seconds": fuzzing.seconds, "guided": guided,
        "input": fuzzing.input and str(fuzzing.input.absolute()),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="horus-fuzz-", dir=_in_memory()) as root:
        command = [sys.executable, "-m", "benchmarks.fuzz", name, root, str(kept), json.dumps(options)]
        here = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, cwd=here, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode in (0, 1) and "Traceback" not in done.stderr:
        if not done.returncode:
            shutil.rmtree(kept)
        return not done.returncode
    said = [line for line in done.stderr.splitlines() if not line.startswith("INFO: ")]
    print("\n".join([*said[-60:], f"  FAILED: the process ended with {done.returncode}"]), flush=True)
    last = kept / f"{name}-last.bin"
    if fuzzing.input is None and last.exists():
        data = last.read_bytes()
        last.write_bytes(data[8 : 8 + int.from_bytes(data[:8], "little")])
        print(f"  the input that was read: {again(name, last)}", flush=True)
    return False


def _in_memory() -> str | None:
    """A folder where writing a file costs least; None for the usual one."""
    shared = "/dev/shm"  # noqa: S108 - the folders in it have names of their own
    return shared if os.access(shared, os.W_OK) else None


def run_soak(name: str, minutes: float, seed: int) -> bool:
    """Run laps for some time, at least one. Returns whether none failed."""
    soak = SOAKS[name]
    lap = _function(soak.function) if soak.function else _tests(soak.tests)
    end_ns = monotonic_ns() + int(minutes * 60 * NANOSECONDS)
    home = Path(tempfile.mkdtemp(prefix=f"horus-{name}-", dir=_in_memory() if soak.in_memory else None))
    laps: list[Mapping[str, float]] = []
    print(f"{name}: {soak.what}", flush=True)
    while not laps or monotonic_ns() < end_ns:
        number = seed + len(laps)
        root = home / str(number)
        root.mkdir()
        try:
            laps.append(lap(root, number))
        except Exception:  # noqa: BLE001 - whatever went wrong, what it left is worth keeping
            traceback.print_exc(file=sys.stdout)
            print(f"  FAILED after {len(laps)} laps, with --seed {number}; what it left: {root}", flush=True)
            return False
        shutil.rmtree(root)
    shutil.rmtree(home)
    print(f"  {len(laps)} laps, seeds {seed} to {seed + len(laps) - 1}: {_figures(laps)}", flush=True)
    return True


def _figures(laps: list[Mapping[str, float]]) -> str:
    words = []
    for key in dict.fromkeys(key for lap in laps for key in lap):
        values = [lap[key] for lap in laps if key in lap]
        if key.endswith("_ms"):
            median, high = statistics.median(values), percentile(values, 99)
            words.append(f"{key[:-3]}: median {median:.1f} ms, p99 {high:.1f} ms, most {max(values):.1f} ms")
        else:
            words.append(f"{sum(values):g} {key}")
    return ", ".join(words) or "all passed"


def _function(where: str) -> Lap:
    module, _, function = where.partition(":")
    lap: Lap = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    return lap


def _tests(ids: tuple[str, ...]) -> Lap:
    """A lap that runs tests, with the seed as hash seed."""

    def lap(root: Path, seed: int) -> Mapping[str, float]:
        here = Path(__file__).resolve().parents[1]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(root / "tests")]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed % (1 << 32))}
        done = subprocess.run([*command, *ids], cwd=here, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(done.stdout[-4000:])
        return {"runs of the tests": 1}

    return lap


if __name__ == "__main__":
    sys.exit(main())
