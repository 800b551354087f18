"""Classes of messages of many makes, for the tests of packed messages; the processes of the tests know them, too."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Annotated, Any

import attrs

if TYPE_CHECKING:
    from pathlib import Path


class Gear(enum.IntEnum):
    """Numbers that are members."""

    REVERSE = -1
    NEUTRAL = 0
    FIRST = 1


class Lamp(enum.Flag):
    """Members that combine."""

    LEFT = 1
    RIGHT = 2


class Word(enum.Enum):
    """Members whose values are no numbers."""

    YES = "yes"


@attrs.define
class Point:
    """Two numbers."""

    x: float = 0.0
    y: float = 0.0


@attrs.define
class Deeper(Point):
    """A subclass, which is not its base."""

    z: float = 0.0


@attrs.define
class Drive:
    """All that has a place in a packed message."""

    speed: float = 0.0
    count: int = 0
    on: bool = False
    gear: Gear = Gear.NEUTRAL
    lamps: Lamp = Lamp.LEFT
    point: Point = attrs.field(factory=Point)
    triple: tuple[float, int, Point] = attrs.field(factory=lambda: (0.0, 0, Point()))
    empty: tuple[()] = ()
    frame: str = ""
    names: list[str] = attrs.field(factory=list)
    ranges: list[float] = attrs.field(factory=list)
    ticks: tuple[int, ...] = ()
    loose: Annotated[list[float] | None, "metres"] = None


def _next(value: int) -> int:
    return value + 1


@attrs.frozen
class Careful:
    """Frozen, with a private name, an alias, a converter, a validator and a field that is not for __init__."""

    _number: int = attrs.field(converter=_next)
    share: float = attrs.field(validator=attrs.validators.le(1.0), alias="part", kw_only=True)
    later: float = attrs.field(init=False)


@attrs.define(slots=False, on_setattr=attrs.setters.frozen)
class Loose:
    """Without slots; setting a field is an error."""

    value: float = 0.0


@attrs.define
class Counting:
    """Sees what is set."""

    value: float = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "value" and hasattr(self, "value"):
            raise AttributeError("once only")
        super().__setattr__(name, value)

    @attrs.define
    class Inner:
        """In another class."""

        value: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A dataclass."""

    value: float = 0.0
    unit: str = "m"


@attrs.define
class Tree:
    """Holds others of its kind."""

    value: float = 0.0
    left: Tree | None = None


@attrs.define
class Chain:
    """Claims to hold itself."""

    link: Chain


@attrs.define
class Labels(dict):  # type: ignore[type-arg]
    """Also a dict."""

    color: str = "red"


@attrs.define
class Unresolved:
    """Its annotations mean nothing at run time."""

    value: float = 0.0
    path: Path | None = None


PACKED = (Point, Deeper, Drive, Careful, Loose, Counting, Counting.Inner, Reading)
"""Those whose objects travel packed."""

GENERAL = (Tree, Chain, Unresolved)
"""Those that have a schema, but something in it that does not."""
