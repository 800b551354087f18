"""What ROS wrote: definitions of its types, its messages, and its files."""

from .decoder import ZSTD, known_decoder, ros_decoder, unpacked
from .definitions import UnreadableDefinitionError
from .reading import MisfitError

__all__ = ["ZSTD", "MisfitError", "UnreadableDefinitionError", "known_decoder", "ros_decoder", "unpacked"]
