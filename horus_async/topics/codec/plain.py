"""What is plain JSON, and how orjson is asked to write it. See ``codec``."""

from __future__ import annotations

import orjson

ATOMS = frozenset({int, float, str, bool, type(None)})
"""The types of JSON values that contain no others."""

STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
"""Makes orjson refuse values that it would silently write as others."""
