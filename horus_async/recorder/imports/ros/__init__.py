"""What ROS wrote: definitions of its types, its messages, and its files."""

from .decoder import known_decoder, ros_decoder, unpacked
from .definitions import UnreadableDefinitionError

__all__ = ["UnreadableDefinitionError", "known_decoder", "ros_decoder", "unpacked"]
