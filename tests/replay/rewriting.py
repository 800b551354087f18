"""Files of a session, rewritten line by line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lz4.frame

from tests.recorder.independent import lines

if TYPE_CHECKING:
    from collections.abc import Callable

    Lines = list[dict[str, Any]]


_TALLIES = {"topics", "sends", "loose"}


def rewrite(file: str, change: Callable[[Lines], Lines]) -> None:
    """Replace the lines of a file by what ``change`` makes of them; it has neither index nor seals then."""
    path = Path(file)
    changed = [{**line} for line in change(lines(path.read_bytes()))]
    changed[0].pop("sealed")
    text = b"".join(json.dumps(line).encode() + b"\n" for line in changed)
    path.write_bytes(lz4.frame.compress(text, content_checksum=True))


def with_sends(recorded: Lines) -> Lines:
    """Put some of what each callback sent into lines of its own before the callback's."""
    result = []
    for line in recorded:
        outputs = line.get("outputs", [])
        if line["kind"] == "tick" and outputs:
            part = len(outputs) // 2 + 1
            result += [{"kind": "sends", "tick": line["tick"], "outputs": [output]} for output in outputs[:part]]
            line = {**line, "outputs": outputs[part:]}  # noqa: PLW2901
        result.append(_without_tallies(line))
    return result


def in_background(recorded: Lines) -> Lines:
    """Let the node have sent everything in a task of its own, a few ticks' worth in each line."""
    result: Lines = []
    waiting: list[Any] = []
    for line in recorded:
        if line["kind"] == "tick":
            waiting += [{**output, "tick": output.get("tick", line["tick"])} for output in line["outputs"]]
            line = {**line, "outputs": []}  # noqa: PLW2901
        if line["kind"] == "footer" or (len(waiting) > 7 and line["kind"] == "tick"):
            result.append({"kind": "sends", "tick": None, "outputs": waiting})
            waiting = []
        result.append(_without_tallies(line))
    return result


def told_late(recorded: Lines) -> Lines:
    """Let a thread have sent what went out on ``late``, and be told of it behind what came one or two ticks later."""
    result: Lines = []
    waiting: list[list[Any]] = []
    for line in recorded:
        if line["kind"] == "tick":
            sent = [{**output, "tick": line["tick"]} for output in line["outputs"]]
            waiting.append([output for output in sent if output["topic"] == "late"])
            now = [output for output in sent if output["topic"] != "late"]
            late = waiting.pop(0) if len(waiting) > 1 + line["tick"] % 2 else []
            result.append({"kind": "sends", "tick": None, "outputs": now + late})
            line = {**line, "outputs": []}  # noqa: PLW2901
        if line["kind"] == "footer":
            result.append({"kind": "sends", "tick": None, "outputs": [*itertools.chain(*waiting)]})
        result.append(_without_tallies(line))
    return result


def _without_tallies(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in _TALLIES or line["kind"] != "footer"}
