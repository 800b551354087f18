"""Messages as others take them: viewers and ROS tools, from files and from live connections."""

from .channels import Channel, RecordedChannel, channel_for, channel_of_recorded, json_channel, recorded_channel
from .json_schema import merged_schema, schema_of
from .leaves import MisfitError
from .topic_names import viewer_name, viewer_names

__all__ = [
    "Channel",
    "MisfitError",
    "RecordedChannel",
    "channel_for",
    "channel_of_recorded",
    "json_channel",
    "merged_schema",
    "recorded_channel",
    "schema_of",
    "viewer_name",
    "viewer_names",
]
