"""What a message had that its ROS 2 type has no place for: the rest, by which it is made whole again.

CDR has float32 for a float, an array for a list, a number for a member of an enum. So a message that was written and
read may be there in another form. The rest says where: a list of ``[path, what, how]``, where ``what`` is

- ``"as"``: the numbers or bytes that are there, as a ``"list"``, a ``"tuple"``, or the ``$ndarray`` of ``how``;
- ``"is"``: the value ``how``, whatever is there.
"""

from __future__ import annotations

from struct import calcsize, unpack
from struct import error as StructError  # noqa: N812 - a class
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.topics.values.base64 import from_base64, to_base64

from .cdr_read import tagged
from .leaves import MisfitError

if TYPE_CHECKING:
    Rest = list[list[Any]]
    """JSON's own types only."""


FAILURES = (AttributeError, ImportError, LookupError, OverflowError, StructError, TypeError, ValueError)
"""What comes of a rest that does not fit, or that takes NumPy where it is not installed."""


def rest_of(read: Any, message: Any) -> Rest:
    """What makes of a message that was read the message that it was; ``read`` is not changed."""
    return [*_differences(read, message, [])]


def with_rest(read: Any, rest: Rest) -> Any:
    """The message as it was; ``read`` may be changed.

    Raises:
        MisfitError: The rest is of another message.
    """
    try:
        for path, what, how in rest:
            if not path:
                read = _made(read, what, how)
                continue
            at = read
            for key in path[:-1]:
                at = at[key]
            if not _has_parts(at):
                raise ValueError("it has no such part")
            at[path[-1]] = _made(at[path[-1]], what, how)
    except FAILURES as error:
        raise MisfitError(f"what is kept beside it does not fit: {type(error).__name__}: {error}"[:300]) from error
    return read


def _differences(read: Any, message: Any, path: list[Any]) -> Any:
    if _same(read, message):
        return
    if type(read) is type(message) is dict and [*read] == [*message] and _has_parts(read) and _has_parts(message):
        for key, part in read.items():
            yield from _differences(part, message[key], [*path, key])
    elif type(read) is type(message) is list and len(read) == len(message):
        for number, part in enumerate(read):
            yield from _differences(part, message[number], [*path, number])
    elif not path:
        yield [path, "is", message]
    else:
        how = _form(message)
        try:
            fits = how is not None and _same(_made(read, "as", how), message)
        except FAILURES:
            fits = False
        yield [path, "as", how] if fits else [path, "is", message]


def _has_parts(value: Any) -> bool:
    """Whether it is a list, an object or its fields, and no tag: those of enums belong to all messages together."""
    if type(value) is not dict:
        return type(value) is list
    return type(value.get("value")) is dict if "$type" in value else not any(key[:1] == "$" for key in value)


def _same(a: Any, b: Any) -> bool:
    return orjson.dumps(a) == orjson.dumps(b)


def _form(message: Any) -> Any:
    """The form of a row of numbers or of bytes, without them."""
    if type(message) is list:
        return "list"
    if type(message) is dict and "$tuple" in message:
        return "tuple"
    if type(message) is dict and type(message.get("$ndarray")) is dict:
        return {**message["$ndarray"], "data": None}
    return None


def _made(read: Any, what: str, how: Any) -> Any:
    if what == "is":
        return how
    if type(how) is dict:
        return {"$ndarray": {**how, "data": _data(read, how["dtype"])}}
    numbers = [tagged(number) for number in _numbers(read)]
    return numbers if how == "list" else {"$tuple": numbers}


def _data(read: dict[str, Any], dtype: Any) -> str:
    """The bytes of an array, as numbers of another kind."""
    if "$bytes" in read:
        found: str = read["$bytes"]
        return found
    fields = read["$ndarray"]
    if fields["dtype"] == dtype:
        data: str = fields["data"]
        return data
    import numpy as np

    wanted = np.dtype(dtype)
    if wanted.kind not in "biuf":
        raise ValueError(f"{dtype!r:.40} is no kind of number")
    with np.errstate(all="ignore"):
        made = np.frombuffer(from_base64(fields["data"]), fields["dtype"]).astype(wanted)
    return to_base64(made.tobytes())


def _numbers(read: dict[str, Any]) -> list[Any]:
    fields = read["$ndarray"]
    code = _CODES[fields["dtype"]]
    data = from_base64(fields["data"])
    return [*unpack(f"<{len(data) // calcsize(code)}{code}", data)]


_CODES = {"|i1": "b", "<f4": "f", "<f8": "d"}
"""Of the rows that there are, as `struct` calls them."""
