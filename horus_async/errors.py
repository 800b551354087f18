"""Every error this package raises on purpose.

    HorusError
    ├── ConfigurationError (ValueError)    a node, scheduler or option that cannot work; also two nodes of one name
    ├── ContextError (RuntimeError)        a call in the wrong place: dt() outside a tick, send() on a node at rest
    ├── NodeFailure (ExceptionGroup)       a node failed for good; holds the node's own exception
    ├── EmergencyStop                      the run was stopped because it was no longer safe
    ├── TopicError
    │   ├── TopicNameError (ValueError)
    │   ├── ValueNotSupportedError (TypeError)   a value that no topic can carry
    │   ├── MessageTooLargeError (ValueError)
    │   ├── MessageDecodeError (ValueError)
    │   ├── MessageOverwrittenError        a borrowed message was replaced by newer ones before its reader was done
    │   ├── TopicTypeError (TypeError)     a typed topic met another type
    │   └── TopicPermissionError           a foreign owner or a symbolic link where our memory should be
    ├── RecordingError
    │   ├── SessionNotFoundError
    │   ├── SessionExistsError
    │   ├── SessionNameError (ValueError)
    │   ├── DamagedRecordingError
    │   └── UnsupportedVersionError
    ├── ReplayError                        replay options that cannot be met
    ├── BlackBoxError
    ├── TraceError                         a policy trace that cannot be read
    ├── PolicyError                        a policy that cannot be loaded or failed
    └── AppError                           a program that the command line cannot load

Messages name the bad value and the way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


class HorusError(Exception):
    """Root of all errors of this package."""


class ConfigurationError(HorusError, ValueError):
    """A node, a scheduler or one of their options cannot work as given."""


class ContextError(HorusError, RuntimeError):
    """A call that has no meaning where it was made."""


class NodeFailure(ExceptionGroup[Exception], HorusError):  # noqa: N818 - it is a group, and reads as what happened
    """A node failed for good and ended the run.

    The group holds the node's own exception first and whatever else failed while shutting down after it.
    ``node`` is the name of the first node that failed, ``tick`` the scheduler tick in which it did.
    """

    node: str
    tick: int

    def __new__(cls, message: str, exceptions: Sequence[Exception], node: str = "", tick: int = 0) -> Self:
        """Make the group; ``node`` and ``tick`` as in the class."""
        self = super().__new__(cls, message, exceptions)
        self.node = node
        self.tick = tick
        return self

    def __init__(self, message: str, exceptions: Sequence[Exception], node: str = "", tick: int = 0) -> None:
        del node, tick  # kept by __new__
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Exception]) -> NodeFailure:  # type: ignore[override]
        """Keep node and tick when ``except*`` splits the group."""
        return NodeFailure(self.message, excs, self.node, self.tick)


class EmergencyStop(HorusError):  # noqa: N818 - the name the contract gives it
    """The run was stopped because it was no longer safe; the message is the reason."""


class TopicError(HorusError):
    """Something about a topic or one of its messages."""


class TopicNameError(TopicError, ValueError):
    """A topic name with other characters than letters, digits and ``_.-/``, a leading ``/``, ``..``, or over 255."""


class ValueNotSupportedError(TopicError, TypeError):
    """A value that no topic can carry."""


class MessageTooLargeError(TopicError, ValueError):
    """A message that can never fit into a ring."""


class MessageDecodeError(TopicError, ValueError):
    """Bytes that are not a message."""


class MessageOverwrittenError(TopicError):
    """A borrowed message was replaced by newer ones before its reader was done: what was read of it may be torn."""


class TopicTypeError(TopicError, TypeError):
    """A typed topic was given, or holds, another type."""


class SchemaMismatchError(TopicTypeError, MessageDecodeError):
    """A message whose class has other fields where it was sent than here, so that it cannot be built."""


class TopicPermissionError(TopicError, PermissionError):
    """Shared memory that belongs to somebody else, or a symbolic link in its place."""


class RecordingError(HorusError):
    """Something about a recorded session."""


class SessionNotFoundError(RecordingError, LookupError):
    """No session of that name, or no such file."""


class SessionExistsError(RecordingError):
    """A session of that name is there already."""


class SessionNameError(RecordingError, ValueError):
    """A session name that cannot be a folder name."""


class DamagedRecordingError(RecordingError):
    """A file that is not a recording, or is damaged where it matters."""


class UnsupportedVersionError(RecordingError):
    """A recording written by a format version this release does not know."""


class ReplayError(HorusError):
    """Replay options that cannot be met."""


class BlackBoxError(HorusError):
    """A black box that cannot be opened, written or read."""


class TraceError(HorusError):
    """A policy trace that cannot be read."""


class PolicyError(HorusError):
    """A policy that cannot be loaded, or that failed."""


class DeterminismError(HorusError):
    """A node of a deterministic run, guarded by ``Guard.ERROR``, asked for something that is different in each run."""


class AppError(HorusError):
    """A program that the command line cannot load, or that failed."""

    failed = False
    """It was found and ran into an error of its own."""
