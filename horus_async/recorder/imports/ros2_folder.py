"""The folder of a ROS 2 bag: its files, and ``metadata.yaml``, which tells of them.

The files that are there count. A recorder that was killed has written no metadata, or those of an earlier file: what
they do not name is imported all the same, and a note says so. They say how many messages there should be.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import RecordingError

from .bags import BagFolder, wrote
from .source import ALL_TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .source import Source

METADATA = "metadata.yaml"
_ENDINGS = (".mcap", ".db3", ".bag", ".bag.active")
_PACKED = (".zstd", ".zst")
_DEEPEST = 32
"""Lists and maps in one another in metadata; those of bags are six deep."""
_LONGEST = 4 << 20
"""Bytes of the metadata: those of thousands of topics."""
_ALIAS = re.compile(r"(?:^|[:\-,\[{?])[ \t\n]*\*[A-Za-z0-9_]+[ \t]*(?=$|[,\]}#:\n])", re.MULTILINE)


@frozen
class _Metadata:
    """What ``metadata.yaml`` says; nothing of it is a path."""

    files: list[str] = field(factory=list)
    counts: dict[str, int] = field(factory=dict)
    distro: str = ""
    custom: dict[str, str] = field(factory=dict)
    problem: str = ""


def see_folder(path: Path, source: Source) -> None:
    """Tell one file of a ROS 2 bag what the metadata in its folder say; that there are more is a note."""
    folder = path.resolve().parent
    if path.is_file() and _is_storage(path) and (folder / METADATA).is_file():
        metadata = _read_metadata(folder)
        if _plain(path.name) in {_plain(name) for name in metadata.files}:
            wrote(source, metadata.distro)
            if len(metadata.files) > 1:
                more = f"{path.name} is one of {len(metadata.files)} files of a bag: import its folder for all of it"
                source.notes.append(more)


def open_folder(path: Path, open_file: Callable[[Path], Source]) -> Source:
    """Open the folder of a ROS 2 bag, with or without metadata; ``open_file`` opens each of its files.

    Raises:
        RecordingError: It holds no bag, or files of several.
    """
    there = {file.name: file for file in sorted(path.iterdir(), key=_by_number) if _is_storage(file)}
    metadata = _read_metadata(path) if (path / METADATA).is_file() else None
    if metadata is not None and metadata.problem:
        notes, metadata = [metadata.problem], None
    else:
        notes = [] if metadata is not None else [f"{path} has no {METADATA}: its files are read as one bag"]
    if metadata is None:
        chosen = _files_of_one_bag(path, there)
    else:
        chosen, said = _named_files(path, there, metadata)
        notes += said
    metadata = metadata or _Metadata()
    parts = _opened(chosen, open_file, notes)
    folder = BagFolder(parts, metadata.counts, notes, metadata.distro)
    if metadata.custom:
        folder.metadata.append(("custom_data", metadata.custom))
    return folder


def _opened(chosen: dict[str, Path], open_file: Callable[[Path], Source], notes: list[str]) -> dict[str, Source]:
    """The files that can be opened; of the others a note says why not, if not all are like that."""
    parts: dict[str, Source] = {}
    problems: list[RecordingError] = []
    for name, file in chosen.items():
        try:
            parts[name] = open_file(file)
        except RecordingError as error:
            problems.append(error)
    if problems and not parts:
        raise problems[0]
    notes += [f"{problem}; it is left out" for problem in problems]
    return parts


def _named_files(path: Path, there: dict[str, Path], metadata: _Metadata) -> tuple[dict[str, Path], list[str]]:
    """The files that the metadata name, and those of the same recording that they do not name."""
    plain = {_plain(name): name for name in there}
    named = [plain[_plain(name)] for name in metadata.files if _plain(name) in plain]
    missing = [name for name in metadata.files if _plain(name) not in plain]
    if missing and not named:
        raise RecordingError(f"{path}: the files that {METADATA} names are not there: {', '.join(missing)}")
    stems = {_stem(name) for name in named}
    more = [name for name in there if name not in named and _stem(name) in stems]
    notes = [f"{METADATA} names {name}, which is not there: its messages are missing" for name in missing]
    notes += [f"{METADATA} does not name {name}: it is imported all the same" for name in more]
    return {name: there[name] for name in [*named, *more]}, notes


def _files_of_one_bag(path: Path, there: dict[str, Path]) -> dict[str, Path]:
    if not there:
        inside = [child.name for child in sorted(path.iterdir()) if (child / METADATA).is_file()]
        hint = f"; give one of the bags in it: {', '.join(inside)}" if inside else ""
        raise RecordingError(f"{path} is no ROS 2 bag: it has no {METADATA} and no files of one{hint}")
    if len({_stem(name) for name in there}) > 1:
        raise RecordingError(f"{path} has no {METADATA} and files of several bags: give one of {', '.join(there)}")
    return there


def _read_metadata(folder: Path) -> _Metadata:
    """What the metadata say, as far as it can be read: they may be written by hand, by any program."""
    from ruamel.yaml.error import YAMLError

    try:
        said = _parsed(_text(folder / METADATA))["rosbag2_bagfile_information"]
        files = [re.split(r"[/\\]", str(name))[-1] for name in said["relative_file_paths"]]
        counts: dict[str, int] = {}
        for topic in said.get("topics_with_message_count") or []:
            name = topic["topic_metadata"]["name"]
            counts[name] = counts.get(name, 0) + int(topic["message_count"])
        total = int(said.get("message_count", sum(counts.values())))
        if total != sum(counts.values()):
            counts[ALL_TOPICS] = total
    except (OSError, YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = str(error).partition("\n")[0]
        return _Metadata(problem=f"{folder / METADATA} cannot be read ({type(error).__name__}: {what})")
    custom: Any = said.get("custom_data")
    with suppress(AttributeError):
        custom = {str(key): str(value) for key, value in custom.items()}
    return _Metadata(files, counts, str(said.get("ros_distro") or ""), custom if isinstance(custom, dict) else {})


def _parsed(text: str) -> Any:
    """What a text in YAML says.

    Raises:
        YAMLError: It is not YAML, or too deep: the library's time goes by the square of that.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = _DEEPEST
    return yaml.load(text)


def _text(path: Path) -> str:
    """The text of the metadata.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too long, or has aliases, by which few lines become very many.
    """
    with path.open("rb") as file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST} bytes")
    text = data.decode(errors="replace")
    if (found := _ALIAS.search(text)) is not None:
        raise ValueError(f"it has an alias, {found[0].strip()[:40]!r}, which metadata of bags do not have")
    return text


def _is_storage(file: Path) -> bool:
    return _plain(file.name).endswith(_ENDINGS) and file.is_file()


def _plain(name: str) -> str:
    """A file's name without what says that it is compressed."""
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return name


def _stem(name: str) -> str:
    """What the files of one recording have in common: the name without number and ending."""
    return re.sub(r"(_\d+)?(\.[A-Za-z]\w*)+$", "", name)


def _by_number(file: Path) -> tuple[Any, ...]:
    """Sorts ``x_10`` behind ``x_9``."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name))
