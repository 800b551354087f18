"""ROS messages as values, by the definitions that their file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.recorder.exports.output import need

if TYPE_CHECKING:
    from collections.abc import Callable

    Decode = Callable[[bytes], Any]


def ros_decoder(encoding: str, name: str, form: str, definition: str) -> Decode:
    """A decoder for a ROS message type by its definition."""
    try:
        from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
    except ImportError:
        raise need("rosbags", "bags", "decoding ROS messages") from None
    store = get_typestore(Stores.EMPTY)
    parts = name.split("/")
    full = name if len(parts) == 3 else f"{parts[0]}/msg/{parts[-1]}"
    store.register(get_types_from_idl(definition) if "idl" in form else get_types_from_msg(definition, full))
    parse = store.deserialize_cdr if encoding == "cdr" else store.deserialize_ros1
    return lambda data: ros_value(parse(data, full))


def ros_value(value: Any) -> Any:
    """A ROS message as a dict of dicts, lists and arrays."""
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: ros_value(getattr(value, name)) for name in fields if name != "__msgtype__"}
    if isinstance(value, list):
        return [ros_value(item) for item in value]
    return value
