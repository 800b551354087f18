"""``python -m benchmarks.fuzz NAME ROOT KEPT JSON``: one run of a fuzzer, in a process of its own. For ``soak``."""

from __future__ import annotations

import faulthandler
import json
import mmap
import sys
from pathlib import Path
from typing import Any

from .law import bounded
from .rounds import Outcome, fuzz, quiet, repeat

_STUCK_SECONDS = 120
_ROOM = 1 << 22


def main() -> int:
    """Run a fuzzer; exit code 1 if the law was broken."""
    name, root, kept, options = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
    quiet()
    faulthandler.enable()
    with bounded():
        if options["input"]:
            return _repeat(name, root, Path(options["input"]))
        outcome = _fuzz(name, root, kept, options)
    print(f"  {outcome.line()}", flush=True)
    return 1 if outcome.faults else 0


def _fuzz(name: str, root: Path, kept: Path, options: dict[str, Any]) -> Outcome:
    """Keep the input that is read in a file that is mapped: it outlives a crash of the interpreter."""
    with (kept / f"{name}-last.bin").open("w+b") as file:
        file.truncate(_ROOM)
        with mmap.mmap(file.fileno(), _ROOM) as memory:

            def begun(data: bytes) -> None:
                memory[:8] = len(data).to_bytes(8, "little")
                memory[8 : 8 + len(data)] = data
                faulthandler.dump_traceback_later(_STUCK_SECONDS, exit=True)

            limits = {"count": options["count"], "seconds": options["seconds"]}
            if options["guided"]:
                from .guided import fuzz_guided

                return fuzz_guided(name, root, kept, options["seed"], begun=begun, **limits)
            outcome = fuzz(name, root, kept, options["seed"], begun=begun, **limits)
    faulthandler.cancel_dump_traceback_later()
    return outcome


def _repeat(name: str, root: Path, path: Path) -> int:
    broken = repeat(name, root, path.read_bytes())
    if broken is None:
        print("  the law holds for this input")
        return 0
    print(f"{broken.trace}  {broken.what}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
