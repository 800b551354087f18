"""Which kinds of classes messages can hold, as such; whether one may is for ``admission``."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, TypeGuard

import attrs

MARK = "__pydantic_validator__"
"""The attribute by which a class of pydantic is known; it has one of its own."""


def is_message_kind(kind: Any) -> TypeGuard[type]:
    """Whether it is an attrs class, a dataclass, a model, a named tuple or an enum."""
    return isinstance(kind, type) and (
        MARK in kind.__dict__  # first: models are slow to ask for attributes that they lack
        or issubclass(kind, Enum)
        or attrs.has(kind)
        or dataclasses.is_dataclass(kind)
        or is_named_tuple(kind)
    )


def is_named_tuple(kind: type) -> bool:
    """Whether it is a tuple whose items have names."""
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_field_defaults", None), dict)
