"""Fuzzing that follows what code an input reaches, by ``atheris`` (libFuzzer): inputs that reach more are kept.

``atheris`` 3 has wheels (35 MB) for Python 3.11 to 3.13 on Linux x86-64. Elsewhere `rounds.fuzz` does without.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .law import Law
from .rounds import Outcome
from .target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PACKAGES = ["horus_async", "mcap", "rosbags", "pyulog"]
"""Whose code is followed."""


def is_there() -> bool:
    """Whether ``atheris`` is installed."""
    return importlib.util.find_spec("atheris") is not None


def fuzz_guided(
    name: str, root: Path, kept: Path, seed: int, *, count: int | None, seconds: float | None,
    begun: Callable[[bytes], object] = len,
) -> Outcome:  # fmt: skip
    """As `rounds.fuzz`, guided. The same seed gives the same inputs in a fresh process."""
    import atheris

    target = TARGETS[name]
    with atheris.instrument_imports(include=_PACKAGES, enable_loader_override=False):
        fuzzed = target.ready(root)
    corpus = root / "corpus"
    corpus.mkdir()
    for number, data in enumerate(fuzzed.seeds):
        (corpus / f"{number:04}").write_bytes(data)
    outcome, start_ns = Outcome(), monotonic_ns()
    end_ns = None if seconds is None else start_ns + int(seconds * NANOSECONDS)
    whole = len(fuzzed.seeds) + 1  # libFuzzer begins with an empty input and the corpus

    def test(data: bytes) -> None:
        if outcome.inputs - whole == count or (end_ns is not None and monotonic_ns() >= end_ns):
            _end(outcome, law, start_ns, whole)
        begun(data)
        broken = law.judge(data)
        outcome.inputs += 1
        if broken is not None:
            outcome.note(broken, data, kept, name)

    def change(data: bytes, most: int, own_seed: int) -> bytes:
        chance = random.Random(own_seed)
        if chance.random() < 0.3:
            mutated: bytes = atheris.Mutate(data, most)
            return mutated
        return fuzzed.change(data or fuzzed.seeds[0], fuzzed.seeds, chance)[:most]

    arguments = [
        sys.argv[0],
        str(corpus),
        f"-seed={seed % (1 << 31) + 1}",
        "-max_len=262144",
        "-timeout=100000",
        "-rss_limit_mb=0",
    ]
    with Law(fuzzed.read) as law:
        atheris.Setup([*arguments, "-verbosity=0", f"-artifact_prefix={kept}/"], test, custom_mutator=change)
        atheris.Fuzz()
    raise AssertionError("libFuzzer has come back")


def _end(outcome: Outcome, law: Law, start_ns: int, whole: int) -> Any:
    """Say what came of it and leave: nothing comes back from libFuzzer."""
    outcome.inputs = max(outcome.inputs - whole, 0)
    outcome.refused, outcome.longest = law.refused, law.longest
    outcome.seconds = (monotonic_ns() - start_ns) / NANOSECONDS
    print(f"  {outcome.line()}", flush=True)
    os._exit(1 if outcome.faults else 0)
