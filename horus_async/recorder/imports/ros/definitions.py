"""Definitions of ROS types, as files hold them: ``.msg`` texts, ``.srv`` texts and IDL, joined by separators.

``rosbags`` reads them; here they get the form that it reads. Real files hold line ends of Windows, comments in Latin-1,
constants in small letters, default values and annotations: none of that says how a message is encoded, so it is left
out. A service's events are recorded with the text of the service, from which their type is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Fields = list[tuple[str, Any]]
    Types = dict[str, Fields]

PLACEHOLDER = "structure_needs_at_least_one_member"
"""The field that an empty type has in CDR, where no type may be empty."""
MAX_ARRAY = 2**28
"""Items of a fixed array, above which a type is refused."""

_SEPARATOR = re.compile(r"^={5,}[ \t]*$", re.MULTILINE)
_TITLE = re.compile(r"\s*(?:MSG|SRV|IDL):[ \t]*(\S+)[^\n]*\n?")
_ANNOTATION = re.compile(r"@\w+(?:\([^)]*\))?\s*")
_CONSTANT = re.compile(r"\S+\s+\w+\s*=")
_FIELD = re.compile(r"([A-Za-z][\w/]*(?:<=\d+)?(?:\[(?:<=)?\d*\])?)\s+([A-Za-z]\w*)(?:\s|#|$)")
_SERVICE_PART = re.compile(r"_(?:Request|Response|Event)$")
_LINE = "=" * 80 + "\n"


class UnreadableDefinitionError(RecordingError):
    """The definition of a ROS type is missing, or cannot be read."""


def as_text(text: str | bytes) -> str:
    """The text of a definition, with plain line ends: UTF-8, or else Latin-1, which old comments are written in."""
    plain = text if isinstance(text, str) else _decoded(text)
    return plain.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def full_name(name: str) -> str:
    """A type's name with its package and kind: ``pkg/Foo``, ``pkg::msg::Foo`` are ``pkg/msg/Foo``."""
    parts = [part for part in re.split(r"::|/", name) if part]
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else "/".join(parts)


def read_definition(name: str, form: str, text: str) -> tuple[str, Types]:
    """The name under which a type is in its own definition, and the fields of each type there.

    Args:
        name: The type's name in the file.
        form: How it is written: ``ros2idl`` and ``omgidl`` are IDL, everything else ``.msg``.
        text: The definition, from :func:`as_text`.

    Raises:
        UnreadableDefinitionError: It is not in this language.
    """
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    try:
        if "idl" in form:
            return _idl_types(name, text, get_types_from_idl)
        root, rest = _plain(name, text)
        found = {key: fields for key, (_, fields) in get_types_from_msg(rest, root).items()}
        return next(iter(found)), found
    except UnreadableDefinitionError:
        raise
    except Exception as error:  # the library's parser, on a text of anybody's
        raise UnreadableDefinitionError(f"the definition of {name} cannot be read ({_first_line(error)})") from error


def closure(root: str, *sources: Types) -> Types:
    """A type and all that it is made of, each from the first source that has it.

    Raises:
        UnreadableDefinitionError: One is in none of them, or it is too large.
    """
    found: Types = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        fields = next((source[name] for source in sources if name in source), None)
        if fields is None:
            raise UnreadableDefinitionError(f"the definition of {name} is missing")
        found[name] = fields or [(PLACEHOLDER, (1, ("uint8", 0)))]
        waiting += [part for _, field in fields for part in _parts(name, field)]
    return found


def _parts(name: str, field: Any) -> Iterator[str]:
    """The types that a field is made of, as ``rosbags`` describes it: (1, base), (2, name), (3 array or 4, of what)."""
    kind, what = field
    if kind == 2:
        yield what
    elif kind in {3, 4}:
        item, size = what
        if kind == 3 and not 0 <= size <= MAX_ARRAY:
            raise UnreadableDefinitionError(f"{name} has an array of {size} items: more than any robot's")
        yield from _parts(name, item)


def _idl_types(name: str, text: str, parse: Any) -> tuple[str, Types]:
    found: Types = {}
    for part in _SEPARATOR.split(text):
        body = _TITLE.sub("", part, count=1) if _TITLE.match(part) else part
        if body.strip():
            found.update({key: fields for key, (_, fields) in parse(body).items()})
    root = full_name(name)
    if root in found:
        return root, found
    parts = re.split(r"::|/", name)
    alike = [key for key in found if key == "/".join(parts) or key.rpartition("/")[2] == parts[-1]]
    if len(alike) != 1:
        raise UnreadableDefinitionError(f"the definition of {name} does not hold that type")
    return alike[0], found


def _plain(name: str, text: str) -> tuple[str, str]:
    """The name and text of the same definition in the form of a bag: nothing but fields, services taken apart."""
    first, *others = _SEPARATOR.split(text)
    sections = [(name, first)] if first.strip() or not others else []
    for other in others:
        title = _TITLE.match(other)
        if title is not None:
            sections.append((title[1] if sections else name, other[title.end() :]))
    found: dict[str, str] = {}
    for title_, body in sections or [(name, "")]:
        for key, lines in _messages(title_, body, is_root=not found):
            found.setdefault(key, lines)
    (root, head), *rest = found.items()
    return root, head + "".join(f"{_LINE}MSG: {key}\n{lines}" for key, lines in rest)


def _messages(name: str, body: str, *, is_root: bool) -> Iterator[tuple[str, str]]:
    """A section's messages: one, or of a service the event's (or the one that is asked for), request and response."""
    request, is_service, response = re.sub(r"(?m)^---[ \t]*$", "\0", body).partition("\0")
    if not is_service:
        yield name, _fields(body)
        return
    service = _SERVICE_PART.sub("", name)
    parts = {f"{service}_Request": _fields(request), f"{service}_Response": _fields(response)}
    if is_root and name in parts:
        yield name, parts[name]
    elif is_root:
        info = "service_msgs/ServiceEventInfo info\n"
        yield f"{service}_Event", f"{info}{service}_Request[<=1] request\n{service}_Response[<=1] response\n"
    yield from parts.items()


def _fields(body: str) -> str:
    """Type and name of each field, one a line; a line that is nothing known stays, for the parser's error."""
    lines = []
    for raw in body.split("\n"):
        line = _ANNOTATION.sub("", raw.strip(), count=1) if raw.lstrip().startswith("@") else raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _FIELD.match(line)
        if found is not None and not line[found.end() - 1 :].lstrip().startswith("="):
            lines.append(f"{found[1]} {found[2]}")
        elif not _CONSTANT.match(line):
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
