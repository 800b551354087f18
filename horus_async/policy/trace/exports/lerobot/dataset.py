"""Exports traces as a LeRobotDataset: a frame for every step that was carried out.

A frame holds the observation of the request whose chunk it is a step of. Between two requests nothing was observed: the
frames there repeat the observation of the one before, and ``observed`` is false.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from horus_async.errors import TraceError
from horus_async.hints.installed import install
from horus_async.limits.open_files import why
from horus_async.policy.trace.exports.parquet import need_pyarrow

from .asked import gather
from .files import DataFiles, Meta, info_of
from .layout import ACTION, DEFAULTS, FeatureKind, feature, fitted
from .pictures import Store
from .statistics import of_pictures, of_values, together
from .timing import timing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from horus_async.policy.trace.exports.exported import Exported
    from horus_async.policy.trace.exports.options import DatasetOptions
    from horus_async.policy.trace.reader import TraceReader
    from horus_async.policy.trace.request import TraceRequest

    from .asked import Asked, Episode
    from .layout import Feature
    from .statistics import Stats
    from .timing import Timing

    Progress = Callable[[int, int], None]

_DIFFERENT = 0.1
"""By how much of the recorded time the frames' may differ before it is said."""
_UNKNOWN = -1


def export_lerobot(
    found: Iterable[tuple[TraceReader, TraceRequest]],
    output: Path,
    options: DatasetOptions,
    exported: Exported,
    progress: Progress = lambda _, __: None,
) -> None:
    """Write the folder ``output``, which must not exist, or be empty.

    Args:
        found: What to write.
        output: The folder.
        options: What a trace may not say.
        exported: Takes what was written, and what was not.
        progress: Is told of how many frames of how many are written, once all is read.

    Raises:
        TraceError: nothing is left to write, nothing says how many frames a second there are, it cannot be written, or
            a package is missing.
    """
    need_pyarrow()
    _need_pillow()
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise TraceError(f"{output} exists; a dataset needs a new folder")
        with _beside(output) as part, tempfile.TemporaryFile(dir=part) as file:
            _write(found, part, options, Store(file), exported, progress=progress)
            if output.exists():
                output.rmdir()
            part.rename(output)
    except OSError as error:
        raise TraceError(f"cannot write {str(output)!r}: {why(error)}") from error


def _write(
    found: Iterable[tuple[TraceReader, TraceRequest]],
    folder: Path,
    options: DatasetOptions,
    store: Store,
    exported: Exported,
    *,
    progress: Progress,
) -> None:
    robots: dict[str, None] = {}
    episodes = gather(_with_robots(found, robots), store, exported)
    features, fitting = fitted(episodes, exported)
    if not fitting:
        what = "no episode is left to write" if episodes else "no request with actions was found; nothing was written"
        raise TraceError("; ".join([what, *exported.lines()]))
    timing = timing_of(fitting, options.fps, exported)
    kept = [(episode, steps) for episode, steps in zip(fitting, timing.steps, strict=True) if sum(steps)]
    if not kept:
        raise TraceError("; ".join(["no step of any chunk was carried out", *exported.lines()]))
    columns = [*features[:-1], *_told(kept), features[-1], *DEFAULTS]
    total = sum(sum(steps) for _, steps in kept)
    dataset = _Dataset(DataFiles(folder, columns, store.get), store, timing.fps)
    try:
        for episode, steps in kept:
            dataset.add(episode, steps)
            progress(dataset.meta.frames, total)
    finally:
        dataset.data.close()
    meta = dataset.meta
    stats = {name: together([one[name] for one in meta.stats]) for name in meta.stats[0]}
    robot = options.robot_type or (next(iter(robots)) if len(robots) == 1 else None)
    meta.write(folder, info_of(columns, timing.fps, robot), stats)
    exported.requests = sum(len(episode.asked) for episode, _ in kept)
    exported.frames, exported.episodes = meta.frames, len(meta.episodes)
    _tell(kept, timing, exported)


def _told(kept: list[tuple[Episode, list[int]]]) -> list[Feature]:
    """The features that are not the observation's: which frames there are is known only now."""
    found = [feature("next.done", FeatureKind.BOOL)]
    if any(episode.success is not None for episode, _ in kept):
        found += [feature("next.success", FeatureKind.BOOL), feature("success", FeatureKind.INTEGER)]
    if any(one.executed is not None for episode, _ in kept for one in episode.asked):
        found.append(feature("executed", FeatureKind.INTEGER))
    if any(count > 1 for _, steps in kept for count in steps):
        found.append(feature("observed", FeatureKind.BOOL))
    return found


@define
class _Dataset:
    """A dataset that is being written."""

    data: DataFiles
    store: Store
    fps: float
    meta: Meta = Factory(Meta)

    def add(self, episode: Episode, steps: list[int]) -> None:
        """Write an episode, of whose chunks so many steps were carried out."""
        frames = [(one, step, count) for one, count in zip(episode.asked, steps, strict=True) for step in range(count)]
        known = self._known(episode, frames)
        columns: dict[str, list[Any]] = {}
        stats: dict[str, Stats] = {}
        for one in self.data.features:
            values = known.get(one.name) or [_value(one, asked, step) for asked, step, _ in frames]
            if one.kind is FeatureKind.IMAGE:
                stats[one.name] = of_pictures(values, self.store.get)
                columns[one.name] = values
            else:
                columns[one.name] = _listed(one, values, stats)
        self.data.write(columns)
        self._count(episode, steps, frames, stats)

    def _known(self, episode: Episode, frames: list[tuple[Asked, int, int]]) -> dict[str, list[Any]]:
        """The columns that are the same whatever was observed."""
        length = len(frames)
        start = self.meta.frames
        return {
            "timestamp": [index / self.fps for index in range(length)],
            "frame_index": list(range(length)),
            "episode_index": [len(self.meta.episodes)] * length,
            "index": list(range(start, start + length)),
            "task_index": [self.meta.task_index(one.task) for one, _, _ in frames],
            "next.done": [index == length - 1 for index in range(length)],
            "next.success": [index == length - 1 and episode.success is True for index in range(length)],
            "success": [_UNKNOWN if episode.success is None else int(episode.success)] * length,
            "executed": [count for _, _, count in frames],
            "observed": [step == 0 for _, step, _ in frames],
        }

    def _count(
        self, episode: Episode, steps: list[int], frames: list[tuple[Asked, int, int]], stats: dict[str, Stats]
    ) -> None:
        meta = self.meta
        row = {
            "episode_index": len(meta.episodes),
            "tasks": list(dict.fromkeys(one.task for one, _, _ in frames)),
            "length": len(frames),
            "data/chunk_index": self.data.place[0],
            "data/file_index": self.data.place[1],
            "dataset_from_index": meta.frames,
            "dataset_to_index": meta.frames + len(frames),
        }
        used = [[asked.seq, count] for asked, count in zip(episode.asked, steps, strict=True)]
        meta.episodes.append(row)
        meta.stats.append(stats)
        meta.sources.append({"session_id": episode.session, "episode_id": episode.name, "seq_and_frames": used})
        meta.frames += len(frames)


def _value(one: Feature, asked: Asked, step: int) -> Any:
    return asked.actions[step] if one.name == ACTION else asked.values[one.name]


def _listed(one: Feature, values: list[Any], stats: dict[str, Any]) -> list[Any]:
    """Values as Arrow takes them, after their statistics; text has none."""
    import numpy

    if one.kind is FeatureKind.TEXT:
        return values
    array = numpy.array(values, one.kind.value).reshape(len(values), *one.shape)
    stats[one.name] = of_values(array)
    listed: list[Any] = (array[:, 0] if one.shape == (1,) else array).tolist()
    return listed


def _tell(kept: list[tuple[Episode, list[int]]], timing: Timing, exported: Exported) -> None:
    recorded = written = 0.0
    for episode, steps in kept:
        first, last = episode.asked[0].at_ns, episode.asked[-1].at_ns
        if first is not None and last is not None:
            recorded += (last - first) / 1e9
            written += sum(steps[:-1]) / timing.fps
    if abs(recorded - written) > _DIFFERENT * recorded:
        exported.notes.append(f"{recorded:.1f} s of requests are {written:.1f} s of frames, which have no pauses")
    unnamed = sum(episode.name is None for episode, _ in kept)
    if unnamed:
        exported.notes.append(f"{unnamed} episodes are all requests of a session without an episode_id")
    without = sum(not one.task for episode, _ in kept for one in episode.asked)
    if without:
        exported.notes.append(f"{without} requests have no instruction; their task is empty")
    unsaid = sum(episode.success is None for episode, _ in kept)
    if 0 < unsaid < len(kept):
        exported.notes.append(f"{unsaid} episodes do not say whether they succeeded: their success is {_UNKNOWN}")


def _with_robots(
    found: Iterable[tuple[TraceReader, TraceRequest]], robots: dict[str, None]
) -> Iterator[tuple[TraceReader, TraceRequest]]:
    """What was found, and the names of the robots that it is of."""
    for trace, request in found:
        if isinstance(name := trace.header.get("embodiment"), str) and name:
            robots[name] = None
        yield trace, request


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A new folder beside ``output``, which is gone after the block, unless it was renamed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name[:200]}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a killed process that had this number
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _need_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401 - whether it is there
    except ImportError as error:
        raise TraceError(f"a dataset's images need Pillow: {install('lerobot')}") from error
