"""Models of pydantic for tests; importable only where pydantic is."""

# Annotations are evaluated by pydantic, so what they name is imported at run time.
from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import math
import pathlib
import threading
import uuid
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import attrs
import numpy as np
import pydantic
import pydantic.dataclasses
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel

T = TypeVar("T")
Array = np.ndarray


class Gear(enum.Enum):
    """A choice."""

    LOW = "low"
    HIGH = "high"


class Point(BaseModel):
    """Numbers only."""

    x: float = 0.0
    y: float = 0.0


class Pose(BaseModel):
    """Everything that topics carry, and other models in all places."""

    at: Point
    name: str = "base"
    path: list[Point] = []
    marks: dict[str, Point] = {}
    pair: tuple[Point, int] | None = None
    gear: Gear = Gear.LOW
    seen: datetime.datetime | None = None
    took: datetime.timedelta | None = None
    id: uuid.UUID | None = None
    file: pathlib.Path | None = None
    cost: decimal.Decimal | None = None
    ids: set[int] = set()
    raw: bytes = b""
    any: Any = None


class Swapped(BaseModel):
    """Frozen, strict, and each field has the other's name as its alias."""

    model_config = ConfigDict(frozen=True, strict=True)
    a: int = Field(alias="b")
    b: int = Field(default=1, alias="a")


class Found(BaseModel):
    """Aliases that are no single name."""

    a: int = Field(validation_alias=pydantic.AliasChoices("q", pydantic.AliasPath("z", 0)))


class Open(BaseModel):
    """Takes anything."""

    model_config = ConfigDict(extra="allow")
    x: int = 1


class Closed(BaseModel):
    """Takes nothing else."""

    model_config = ConfigDict(extra="forbid")
    x: int = 1


class Counted(BaseModel):
    """With a private attribute that stays as it is made."""

    x: int = 1
    _hits: int = PrivateAttr(0)


class Guarded(BaseModel):
    """With a private attribute that never equals another one."""

    x: int = 1
    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class Derived(BaseModel):
    """What it computes from its fields is computed again."""

    kinds: ClassVar[int] = 3
    x: int = 1
    _double: int = 0

    def model_post_init(self, context: Any) -> None:
        """Fill the private attribute."""
        self._double = 2 * self.x

    @functools.cached_property
    def next(self) -> int:
        """Kept once it is known."""
        return self.x + 1

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def triple(self) -> int:
        """Shown with the fields."""
        return 3 * self.x


class Wrapped(BaseModel):
    """A validator that gives the same again."""

    angle: float

    @pydantic.field_validator("angle")
    @classmethod
    def within_a_turn(cls, angle: float) -> float:
        """Whatever comes."""
        return angle % 360.0


class Doubled(BaseModel):
    """A validator that does not."""

    x: int = 1

    @pydantic.field_validator("x", mode="before")
    @classmethod
    def twice(cls, x: Any) -> Any:
        """More with every validation."""
        return 2 * x


class Cleared(BaseModel):
    """A validator for numbers that are none."""

    x: float | None = None

    @pydantic.field_validator("x")
    @classmethod
    def known(cls, x: float | None) -> float | None:
        """NaN is nothing."""
        return None if x is not None and math.isnan(x) else x


class Signless(BaseModel):
    """A validator that changes what equals itself."""

    x: float = 0.0
    more: list[float] = []

    @pydantic.field_validator("x", "more")
    @classmethod
    def no_sign(cls, x: Any) -> Any:
        """No -0.0."""
        return [one + 0.0 for one in x] if isinstance(x, list) else x + 0.0


class Brighter(BaseModel):
    """A validator that makes another array."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    data: Array  # type: ignore[type-arg]

    @pydantic.field_validator("data")
    @classmethod
    def brighter(cls, data: Any) -> Any:
        """With every validation."""
        return data + 1


class Inverted(BaseModel):
    """A validator that changes an array in place."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    data: Array  # type: ignore[type-arg]

    @pydantic.field_validator("data")
    @classmethod
    def inverted(cls, data: Any) -> Any:
        """With every validation."""
        data *= -1
        return data


class Moving(BaseModel):
    """A validator that changes what is inside."""

    at: Point

    @pydantic.model_validator(mode="after")
    def further(self) -> Moving:
        """In place."""
        self.at.x += 1.0
        return self


class Built(BaseModel):
    """An ``__init__`` of its own."""

    x: int

    def __init__(self, x: int) -> None:
        super().__init__(x=x + 1)


class Numbers(RootModel[list[int]]):
    """No fields, but a list."""


class Few(RootModel[list[int]]):
    """The same with a default."""

    root: list[int] = [1]


class Box(BaseModel, Generic[T]):
    """Generic."""

    inside: T


IntBox = Box[int]


class Cat(BaseModel):
    """One kind of pet."""

    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    """Another."""

    kind: Literal["dog"] = "dog"
    bones: int = 0


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Zoo(BaseModel):
    """Discriminated unions."""

    pet: Pet
    pets: list[Pet] = []


class Image(BaseModel):
    """Arrays."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    data: Array  # type: ignore[type-arg]
    raw: bytes = b""


class Deferred(BaseModel):
    """Its validator is made when it is first needed."""

    model_config = ConfigDict(defer_build=True)
    x: float = 1.0


class Waiting(BaseModel):
    """Names a class that there is not."""

    later: Later | None = None  # type: ignore[name-defined]  # noqa: F821


class Far(Point):
    """May stand where a point is wanted."""

    z: float = 0.0


class Identity(BaseModel):
    """Equal to itself only."""

    x: int = 1

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


class Near(BaseModel):
    """Equal where it rounds to the same."""

    x: float = 1.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and round(self.x) == round(other.x)

    __hash__ = None  # type: ignore[assignment]


class Tree(BaseModel):
    """Holds its own kind."""

    value: int = 0
    left: Tree | None = None
    right: Tree | None = None


class Key(BaseModel):
    """Hashable."""

    model_config = ConfigDict(frozen=True)
    x: int = 0


class Keys(BaseModel):
    """A set of models."""

    keys: set[Key] = set()


@attrs.define
class Stamped:
    """An attrs class around a model."""

    at: Point
    seq: int = 0


class Log(BaseModel):
    """A model around an attrs class."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    last: Stamped


class Limited(BaseModel):
    """Not all numbers will do."""

    speed: float = Field(default=0.0, ge=0.0, le=2.0)


class Plugin(BaseModel):
    """Validation imports what a text names."""

    what: pydantic.ImportString[Any] = None


class Secret(BaseModel):
    """Nothing to show by accident."""

    word: pydantic.SecretStr


class Link(BaseModel):
    """A type of pydantic's own."""

    url: pydantic.HttpUrl


class Parsed(BaseModel):
    """Takes text and holds what it says."""

    numbers: pydantic.Json[list[int]]


class Crash(BaseModel):
    """Validation fails as no validation should."""

    x: Any = 0

    @pydantic.field_validator("x")
    @classmethod
    def look_up(cls, x: Any) -> Any:
        """Which few values survive."""
        return {0: 0}[x]


@pydantic.dataclasses.dataclass
class Plain:
    """A dataclass that is validated."""

    x: float
    items: list[int] = Field(default_factory=list)
    level: int = Field(default=3, gt=0)


@pydantic.dataclasses.dataclass(slots=True, frozen=True, config=ConfigDict(strict=True))
class Slotted:
    """With slots and an alias."""

    x: float = Field(alias="y")


@pydantic.dataclasses.dataclass
class Twice:
    """A field that is computed."""

    x: int
    double: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        self.double = 2 * self.x


@attrs.define
class Holder:
    """Would travel packed, if its field were no model."""

    speed: float
    limited: Plain
