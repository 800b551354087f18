"""What a deterministic run says of calls that break determinism."""

from __future__ import annotations

from attrs import frozen


@frozen
class GuardFinding:
    """One line that asks for something that is different in each run."""

    node: str
    tick: int | None
    """The scheduler tick in which it was seen first; None in ``init`` and outside of callbacks."""
    call: str
    """What was called: ``time.time()``."""
    file: str
    line: int
    instead: str
    """What to use in its place."""
    via: str = ""
    """``file:line`` of the library that called it on behalf of this line; empty when the line did."""

    def __str__(self) -> str:
        when = "" if self.tick is None else f" in tick {self.tick}"
        via = f" (through {self.via})" if self.via else ""
        return f"{self.file}:{self.line}: node {self.node!r} calls {self.call}{via}{when}: {self.instead}"
