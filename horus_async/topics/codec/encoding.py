"""Values that JSON cannot express get tags, and values that cannot be carried get an explanation. See ``codec``."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from orjson import dumps

from horus_async.errors import MessageTooLargeError, ValueNotSupportedError
from horus_async.topics.values import arrays, classes, keys, models, standard
from horus_async.topics.values.base64 import to_base64
from horus_async.topics.values.payload import MESSAGE_LIMIT

from .advice import advice
from .binary import FORMS, assembled
from .decoding import untagged
from .plain import SHALLOW, STRICT, TOO_DEEP, is_deep
from .trial import survives

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from horus_async.topics.values.payload import Payload

RAW_BYTES = 512
"""``bytes`` objects from this size on travel as buffers, shorter ones as base64."""

_DECIMAL_BITS = 2048
"""Longer integers are written in hexadecimal: decimal takes quadratic time, and Python limits it."""


def encode_tagged(value: Any) -> Payload:
    """The payload of a value that is not plain JSON.

    Raises:
        ValueNotSupportedError: names the type and where in the value it is.
        MessageTooLargeError: its arrays and ``bytes`` are larger than any message; nothing was copied.
    """
    form = arrays.form(value)
    if form in _heads:
        return [_heads[form], arrays.bytes_of(value)]
    tagger = _Tagger()
    try:
        skeleton = tagger.tag(value)
        text = dumps(skeleton, None, STRICT)
        if len(text) > SHALLOW and is_deep(text, skeleton):
            raise _Refusal(TOO_DEEP)
    except (_Refusal, TypeError, RecursionError) as error:
        raise explain(value, error) from None
    except MemoryError:
        raise too_large() from None
    if not tagger.buffers:
        return text
    parts = assembled(text, tagger.buffers)
    if form is not None:
        if len(_heads) >= FORMS:
            _heads.clear()
        _heads[form] = parts[0]
    return parts


_heads: dict[arrays.Form | None, bytes | memoryview] = {}
"""For messages that are nothing but an array of numbers, by its form: the bytes before the data."""


def too_large(size: str = "for which there is no memory") -> MessageTooLargeError:
    """The error for a message that no ring can hold."""
    return MessageTooLargeError(
        f"a message {size} is too large for any topic: the limit is MESSAGE_LIMIT = {MESSAGE_LIMIT} bytes; "
        "send it in parts"
    )


class _Refusal(Exception):  # noqa: N818 - becomes an error once it is known where in the value it is
    """A value that cannot be carried."""


class _Tagger:
    """Turns a value into JSON's own types, collecting its buffers."""

    __slots__ = ("_models", "_size", "buffers")

    def __init__(self) -> None:
        self.buffers: list[bytes | memoryview] = []
        self._size = 0
        self._models: list[Any] | None = None
        """Inside a pydantic model: it and those in it, as they come."""

    def tag(self, value: Any) -> Any:
        """``value`` with tags."""
        known = _TAGGERS.get(type(value))
        return known(self, value) if known is not None else self._tag_object(value)

    def tag_str(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refusal("a str with a lone surrogate, which is not text") from None
        return value

    def tag_int(self, value: int) -> Any:
        if -(2**63) <= value < 2**64:
            return value
        return {"$int": str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)}

    def tag_float(self, value: float) -> Any:
        if -inf < value < inf:
            return value
        return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}  # noqa: PLR0124 - NaN

    def tag_list(self, items: list[Any]) -> list[Any]:
        tag = self.tag
        return [item if type(item) is float and -inf < item < inf else tag(item) for item in items]

    def tag_tuple(self, items: tuple[Any, ...]) -> Any:
        return {"$tuple": [self.tag(item) for item in items]}

    def tag_dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {self.tag_str(key): self.tag(item) for key, item in value.items()}
        _check_keys(value)
        return {"$dict": [[self.tag(key), self.tag(item)] for key, item in value.items()]}

    def tag_bytes(self, value: bytes) -> Any:
        self._claim(len(value))
        return {"$bytes": self._buffer(value) if len(value) >= RAW_BYTES else to_base64(value)}

    def tag_bytearray(self, value: bytearray) -> Any:
        self._claim(len(value))
        still = bytes(value)
        return {"$bytearray": self._buffer(still) if len(still) >= RAW_BYTES else to_base64(still)}

    def _claim(self, size: int) -> None:
        """Count bytes that the message will need, before they are copied."""
        self._size += size
        if self._size > MESSAGE_LIMIT:
            raise too_large(f"of at least {self._size} bytes")

    def tag_set(self, items: set[Any]) -> Any:
        return {"$set": self._in_order(items)}

    def tag_frozenset(self, items: frozenset[Any]) -> Any:
        return {"$frozenset": self._in_order(items)}

    def _in_order(self, items: set[Any] | frozenset[Any]) -> list[Any]:
        """The items of a set, tagged, in an order that is the same in every process: equal sets are equal bytes."""
        kinds = set(map(type, items))
        if kinds != {str}:
            _check_keys(items)
        if kinds in ({str}, {int}):
            return [self.tag(item) for item in sorted(items)]
        text = _TextTagger()
        return [self.tag(item) for item in sorted(items, key=lambda item: dumps(text.tag(item), None, STRICT))]

    def _buffer(self, buffer: bytes | memoryview) -> int | str:
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def _tag_object(self, value: Any) -> Any:
        try:
            if arrays.is_array(value):
                return {"$ndarray": arrays.to_fields(value, self.tag, self._buffer, self._claim)}
            found = classes.to_fields(value)
        except MessageTooLargeError:
            raise
        except ValueError as error:
            raise _Refusal(str(error)) from None
        if found is not None:
            name, content, is_model = found
            if is_model:
                return self._tag_model(value, name, content)
            return {"$type": name, "value": self.tag(content)}
        tags = standard.tags_of(type(value))
        if tags is None:
            raise _Refusal(advice(value))
        known = _TAGGERS[type(value)] = _standard(tags)
        return known(self, value)

    def _tag_model(self, value: Any, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """A model, which must survive the validation that it meets where it arrives: the outermost one is tried."""
        outermost, before = self._models is None, len(self.buffers)
        if self._models is None:
            self._models = []
        self._models.append(value)
        try:
            tagged = {"$type": name, "value": self.tag(content)}
            unset = models.unset(value, content)
            if unset:
                tagged["unset"] = unset
            if outermost and not survives(value):
                self._try_out(value, tagged, before)
        finally:
            if outermost:
                self._models = None
        return tagged

    def _try_out(self, value: Any, tagged: dict[str, Any], before: int) -> None:
        """Make what would arrive, which has to give the same message again."""
        instead = f"send {models.how_to_send(type(value))}"
        try:
            arrived = untagged(tagged, self.buffers)
        except (ValueError, TypeError, LookupError) as error:
            raise _Refusal(f"it would be refused where it arrives: {error}; {instead}") from None
        again = _Tagger()
        again.buffers = self.buffers[:before]
        again._models = []
        twin = again.tag(arrived)
        if dumps(twin, None, STRICT) != dumps(tagged, None, STRICT):
            raise _Refusal(f"{_change(value, arrived)}; {instead}")
        for here, there in zip(self.buffers[before:], again.buffers[before:], strict=True):
            if not arrays.same_bytes(here, there):
                raise _Refusal(f"{_change(value, arrived)}; {instead}")
        for model, other in zip(self._models or (), again._models, strict=True):
            reason = models.difference(model, other)
            if reason is not None:
                raise _Refusal(reason)


def _check_keys(found: Collection[Any]) -> None:
    """Refuse keys or items that no reader would take."""
    try:
        keys.check(found)
    except ValueError as error:
        raise _Refusal(str(error)) from None


def _change(value: Any, arrived: Any) -> str:
    """Where a model would arrive as another one."""
    from horus_async.value_diff import first_difference, short

    name = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        where, here, there = first_difference(value, arrived)
        return f"validation would change {name}: {where or 'value'} = {short(here)} to {short(there)}"
    except Exception:  # noqa: BLE001 - the program's own == and repr
        return f"validation would change {name}"


class _TextTagger(_Tagger):
    """The same with everything as text, so that it can be compared; no model is tried out for that."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._models = []

    def _in_order(self, items: set[Any] | frozenset[Any]) -> list[Any]:
        return sorted(map(self.tag, items), key=lambda item: dumps(item, None, STRICT))

    def _buffer(self, buffer: bytes | memoryview) -> str:
        return to_base64(buffer)


def _standard(tags: standard.Tags) -> Callable[[_Tagger, Any], Any]:
    def tag(self: _Tagger, value: Any) -> Any:
        try:
            tagged = tags(value)
        except ValueError as error:
            raise _Refusal(str(error)) from None
        return {key: self.tag(content) for key, content in tagged.items()}

    return tag


_TAGGERS: dict[type, Callable[[_Tagger, Any], Any]] = {
    type(None): lambda _, value: value,
    bool: lambda _, value: value,
    str: _Tagger.tag_str,
    int: _Tagger.tag_int,
    float: _Tagger.tag_float,
    list: _Tagger.tag_list,
    tuple: _Tagger.tag_tuple,
    dict: _Tagger.tag_dict,
    bytes: _Tagger.tag_bytes,
    bytearray: _Tagger.tag_bytearray,
    set: _Tagger.tag_set,
    frozenset: _Tagger.tag_frozenset,
    **{kind: _standard(tags) for kind, tags in standard.TAGS.items()},
}


def explain(value: Any, error: Exception) -> ValueNotSupportedError:
    """The error for a value that could not be encoded, with the path to the part that is to blame."""
    path, reason = "value", str(error) if isinstance(error, _Refusal) else TOO_DEEP
    seen = {id(value)}
    while True:
        for step, child in _children(value):
            if id(child) in seen:
                return ValueNotSupportedError(f"{path}{step} is not supported: a value that holds itself")
            try:
                dumps(_Tagger().tag(child), None, STRICT)
            except _Refusal as refusal:
                reason = str(refusal)
            except (TypeError, RecursionError):
                pass
            else:
                continue
            path, value = f"{path}{step}", child
            seen.add(id(value))
            break
        else:
            break
        if len(path) > 800:
            break
    shown = path if len(path) <= 200 else f"{path[:100]}…{path[-100:]}"
    return ValueNotSupportedError(f"{shown} is not supported: {reason}")


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with the Python expression for the step to it."""
    if type(value) is dict:
        for key, item in value.items():
            yield f" key {key!a}", key
            yield f"[{key!a}]", item
    elif type(value) in (list, tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif type(value) in (set, frozenset):
        yield from ((f" item {item!a:.40}", item) for item in value)
    elif arrays.is_object_array(value):
        yield from ((f".flat[{index}]", item) for index, item in enumerate(value.flat))
    else:
        yield from _fields(value)


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    try:
        found = classes.to_fields(value)
    except ValueError:
        return
    if found is not None and isinstance(found[1], dict):
        yield from ((f".{name}", item) for name, item in found[1].items())
