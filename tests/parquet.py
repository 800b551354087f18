"""Parquet files, as tests read them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def read_parquet(path: Path | str) -> Any:
    """The table in a file. pyarrow itself would close the file when one of its threads gets round to it."""
    return pq.read_table(io.BytesIO(Path(path).read_bytes()))
