"""What the check of a session finds."""

from __future__ import annotations

import enum

from attrs import define, field


class Verdict(enum.Enum):
    """The condition of a session or a file."""

    WHOLE = "whole"
    CUT = "cut"
    """It ends in the middle or was never closed, as after ``kill -9``; what is there is intact."""
    DAMAGED = "damaged"


def _condition(verdict: Verdict, dropped: int) -> str:
    return "incomplete" if dropped and verdict is not Verdict.DAMAGED else verdict.value


@define
class FileCheck:
    """What the check of one file found."""

    file: str
    verdict: Verdict = Verdict.WHOLE
    lines: int = 0
    """Lines that can be read."""
    ticks: int = 0
    messages: int = 0
    dropped: int = 0
    """Lines that were never written, according to its gap lines."""
    first_tick: int | None = None
    last_tick: int | None = None
    problems: list[str] = field(factory=list)
    """What is wrong and where, one line each."""

    @property
    def condition(self) -> str:
        """In a word; ``incomplete`` where what there is is intact, and its writer left something out."""
        return _condition(self.verdict, self.dropped)


@define
class SessionCheck:
    """What the check of a session found."""

    session: str
    path: str
    files: list[FileCheck] = field(factory=list)
    problems: list[str] = field(factory=list)
    """What is wrong with the session as a whole."""

    @property
    def verdict(self) -> Verdict:
        """The worst of its files'."""
        found = {file.verdict for file in self.files}
        if self.problems or Verdict.DAMAGED in found:
            return Verdict.DAMAGED
        return Verdict.CUT if Verdict.CUT in found else Verdict.WHOLE

    @property
    def dropped(self) -> int:
        """Lines that were never written, in all files."""
        return sum(file.dropped for file in self.files)

    @property
    def condition(self) -> str:
        """In a word: ``whole``, ``cut``, ``incomplete`` or ``damaged``."""
        return _condition(self.verdict, self.dropped)
