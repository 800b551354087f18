"""The files of a LeRobotDataset v3.0, as LeRobot's own writer lays them out. Needs pyarrow.

meta/info.json                           features, frames a second, counts
meta/stats.json                          statistics of the dataset
meta/tasks.parquet                       instructions, the index that frames refer to
meta/episodes/chunk-000/file-000.parquet lengths, tasks, places and statistics of the episodes
data/chunk-000/file-000.parquet          a row a frame, a row group an episode, images in them
meta/horus_async.json                    which requests the frames are from
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, field

from .layout import FeatureKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .layout import Feature
    from .pictures import Picture
    from .statistics import Stats

VERSION = "v3.0"
_FILES_A_CHUNK = 1000
_DATA_MB = 100
_VIDEO_MB = 200
_GROUP = 64 << 20
"""Bytes of rows that are written at once."""
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


@define
class DataFiles:
    """The rows of all episodes, in files of about 100 MB."""

    folder: Path
    features: list[Feature]
    read: Callable[[Picture], bytes]
    place: tuple[int, int] = (0, 0)
    """Chunk and file of the episode written last."""
    _writer: Any = None
    _path: Path | None = None

    def write(self, columns: dict[str, list[Any]]) -> None:
        """Write an episode; a cell of an image is its `Picture`, which is read when it is written."""
        import pyarrow as pa

        count = len(columns["index"])
        pictures = [cell for one in self.features if one.kind is FeatureKind.IMAGE for cell in columns[one.name]]
        numbers = 4 * count * sum(prod(one.shape) for one in self.features if one.kind is not FeatureKind.IMAGE)
        writer = self._writer_for(sum(picture.size for picture in set(pictures)) + numbers)
        at_once = max(1, count * _GROUP // max(1, sum(picture.size for picture in pictures) + numbers))
        for start in range(0, count, at_once):
            arrays = [
                pa.array(self._cells(one, columns[one.name][start : start + at_once], start), _type(one))
                for one in self.features
            ]
            writer.write_table(pa.table(arrays, schema=_schema(self.features)))

    def close(self) -> None:
        """Finish the file that is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _writer_for(self, size: int) -> Any:
        """The file for an episode of that many bytes, a new one where the last one is large enough."""
        import pyarrow.parquet as pq

        if self._writer is not None and self._path is not None and self._path.stat().st_size + size > _DATA_MB << 20:
            self.close()
            chunk, file = self.place
            self.place = (chunk + 1, 0) if file == _FILES_A_CHUNK - 1 else (chunk, file + 1)
        if self._writer is None:
            self._path = self.folder / "data" / _PLACE.format(chunk_index=self.place[0], file_index=self.place[1])
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Pictures of frames between two requests are the same, and stored once in a dictionary that holds them.
            self._writer = pq.ParquetWriter(
                self._path, _schema(self.features), compression="snappy", dictionary_pagesize_limit=_GROUP
            )
        return self._writer

    def _cells(self, one: Feature, cells: list[Any], start: int) -> list[Any]:
        if one.kind is not FeatureKind.IMAGE:
            return cells
        read = {picture: self.read(picture) for picture in set(cells)}
        return [
            {"bytes": read[picture], "path": f"frame-{start + number:06d}.{picture.suffix}"}
            for number, picture in enumerate(cells)
        ]


@define
class Meta:
    """What is known of the episodes written so far."""

    episodes: list[dict[str, Any]] = Factory(list)
    stats: list[dict[str, Stats]] = Factory(list)
    tasks: dict[str, int] = Factory(dict)
    sources: list[dict[str, Any]] = Factory(list)
    frames: int = field(default=0)

    def task_index(self, task: str) -> int:
        """The number of a task, a new one if it is new."""
        return self.tasks.setdefault(task, len(self.tasks))

    def write(self, folder: Path, info: dict[str, Any], stats: dict[str, Stats]) -> None:
        """Write all files of ``meta``; ``info`` has what is not counted here."""
        meta = folder / "meta"
        meta.mkdir(parents=True, exist_ok=True)
        counts = {
            "total_episodes": len(self.episodes),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "splits": {"train": f"0:{len(self.episodes)}"},
        }
        _write_json(meta / "info.json", {**info, **counts})
        _write_json(meta / "stats.json", {name: _lists(one) for name, one in stats.items()})
        _write_json(meta / "horus_async.json", {"episodes": self.sources})
        self._write_tasks(meta / "tasks.parquet")
        self._write_episodes(meta / "episodes" / _PLACE.format(chunk_index=0, file_index=0))

    def _write_tasks(self, path: Path) -> None:
        """Tasks as pandas writes a table whose index they are, which is how they are read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        index = "__index_level_0__"
        described = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        pandas = {
            "index_columns": [index],
            "column_indexes": [
                {"name": None, "field_name": None, **described, "metadata": {"encoding": "UTF-8"}},
            ],
            "columns": [
                {
                    "name": "task_index",
                    "field_name": "task_index",
                    "pandas_type": "int64",
                    "numpy_type": "int64",
                    "metadata": None,
                },
                {"name": None, "field_name": index, **described},
            ],
            "attributes": {},
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.3.3",
        }
        columns = {"task_index": pa.array(self.tasks.values(), pa.int64()), index: pa.array(self.tasks, pa.string())}
        pq.write_table(pa.table(columns).replace_schema_metadata({"pandas": json.dumps(pandas)}), path)

    def _write_episodes(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path.parent.mkdir(parents=True)
        last = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows = [
            {
                **episode,
                **{f"stats/{name}/{key}": value for name, one in stats.items() for key, value in _lists(one).items()},
                **last,
            }
            for episode, stats in zip(self.episodes, self.stats, strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(rows), path, compression="snappy")


def info_of(features: list[Feature], fps: float, robot: str | None) -> dict[str, Any]:
    """``info.json`` but for the counts."""
    described = {
        one.name: {"dtype": one.kind.value, "shape": list(one.shape), "names": list(one.named) if one.named else None}
        for one in features
    }
    return {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": _FILES_A_CHUNK,
        "data_files_size_in_mb": _DATA_MB,
        "video_files_size_in_mb": _VIDEO_MB,
        "fps": int(fps) if fps == int(fps) else fps,
        "splits": {},
        "data_path": f"data/{_PLACE}",
        "video_path": None,
        "features": described,
    }


def _schema(features: list[Feature]) -> Any:
    """The columns of a data file, with what Hugging Face's ``datasets`` says of them."""
    import pyarrow as pa

    described = {"info": {"features": {one.name: _described(one) for one in features}}}
    fields = [pa.field(one.name, _type(one), metadata=_extension(one)) for one in features]
    return pa.schema(fields, {"huggingface": json.dumps(described)})


def _described(one: Feature) -> dict[str, Any]:
    if one.kind is FeatureKind.IMAGE:
        return {"_type": "Image"}
    value = {"dtype": one.kind.value, "_type": "Value"}
    if one.shape == (1,):
        return value
    if len(one.shape) == 1:
        return {"feature": value, "length": one.shape[0], "_type": "List"}
    return {"shape": list(one.shape), "dtype": one.kind.value, "_type": f"Array{len(one.shape)}D"}


def _extension(one: Feature) -> dict[str, str] | None:
    """The mark of arrays of two and more dimensions, which are of types of the library's own."""
    if len(one.shape) == 1 or one.kind is FeatureKind.IMAGE:
        return None
    return {
        "ARROW:extension:name": f"datasets.features.features.Array{len(one.shape)}DExtensionType",
        "ARROW:extension:metadata": json.dumps([list(one.shape), one.kind.value]),
    }


def _type(one: Feature) -> Any:
    import pyarrow as pa

    if one.kind is FeatureKind.IMAGE:
        return pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    inner = pa.type_for_alias(one.kind.value)
    if one.shape == (1,):
        return inner
    if len(one.shape) == 1:
        return pa.list_(inner, one.shape[0])
    for _ in one.shape:
        inner = pa.list_(inner)
    return inner


def _lists(stats: Stats) -> dict[str, Any]:
    return {name: value.tolist() for name, value in stats.items()}


def _write_json(path: Path, value: Any) -> None:
    # Half a surrogate pair, which UTF-8 lacks, is written as JSON's own escape.
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")
