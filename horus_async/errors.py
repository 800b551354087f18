"""Every error this package raises on purpose.

    HorusError
    ├── ConfigurationError (ValueError)    an invalid node, scheduler or option; also two nodes of one name
    ├── ContextError (RuntimeError)        a call in the wrong place: dt() outside a tick, send() on an idle node
    ├── NodeFailure (ExceptionGroup)       a node failed for good; holds the node's own exception
    ├── EmergencyStop                      the run was stopped because it was no longer safe
    ├── TopicError
    │   ├── TopicNameError (ValueError)
    │   ├── ValueNotSupportedError (TypeError)   a value that no topic can carry
    │   ├── MessageTooLargeError (ValueError)
    │   ├── MessageDecodeError (ValueError)
    │   ├── MessageOverwrittenError        a borrowed message was replaced by newer ones before its reader was done
    │   ├── TopicTypeError (TypeError)     a typed topic got another type
    │   └── TopicPermissionError           another owner, or a symbolic link, where our memory should be
    ├── RecordingError
    │   ├── SessionNotFoundError
    │   ├── SessionExistsError
    │   ├── SessionNameError (ValueError)
    │   ├── DamagedRecordingError
    │   └── UnsupportedVersionError
    ├── ParamError (ValueError)            a parameter that there is not, or a value that it cannot have
    ├── ServiceError                       a service that failed, or did not answer (a TimeoutError then)
    ├── ActionError                        a goal that was refused, given up, or failed
    ├── ReplayError                        replay options that cannot be met
    ├── BlackBoxError
    ├── TraceError                         a policy trace that cannot be read
    ├── FramesError (LookupError)          no such frame, no way between two, or an edge that makes no sense
    │   └── ExtrapolationError             an edge of the tree of frames holds nothing of the time asked for
    ├── LimitError                         the system gives this process no thread, no memory, or no real time
    ├── PolicyError                        a policy that cannot be loaded or failed
    ├── LaunchError                        a launch file with errors, or programs that cannot be started together
    └── AppError                           a program that the command line cannot load

Messages name the bad value and say what to do about it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from .spelling import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class HorusError(Exception):
    """Root of all errors of this package. Its text controls no terminal, whatever name or value it tells of."""

    def __str__(self) -> str:
        """The text, with escapes for what `spelling.printable_lines` escapes."""
        return printable_lines(super().__str__())


class ConfigurationError(HorusError, ValueError):
    """A node, a scheduler or one of their options is invalid."""


class ContextError(HorusError, RuntimeError):
    """A call that makes no sense where it was made."""


class NodeFailure(ExceptionGroup[Exception], HorusError):  # noqa: N818 - a group, named after what happened
    """A node failed for good and ended the run.

    The group holds the node's own exception first, then whatever else failed during shutdown. ``node`` is the name of
    the first node that failed, ``tick`` the scheduler tick in which it failed.
    """

    node: str
    tick: int

    def __new__(cls, message: str, exceptions: Sequence[Exception], node: str = "", tick: int = 0) -> Self:
        """Make the group; ``node`` and ``tick`` are those of the class."""
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
    """A topic name that is not 1 to 255 of ``A-Za-z0-9_.-/``, starts with ``/``, or contains ``..``."""


class ValueNotSupportedError(TopicError, TypeError):
    """A value that no topic can carry."""


class MessageTooLargeError(TopicError, ValueError):
    """A message that can never fit into a ring."""


class MessageDecodeError(TopicError, ValueError):
    """Bytes that are not a message."""


class MessageOverwrittenError(TopicError):
    """A borrowed message was overwritten by newer ones before its reader was done: what was read may be torn."""


class TopicTypeError(TopicError, TypeError):
    """A typed topic was given, or holds, a message of another type."""


class SchemaMismatchError(TopicTypeError, MessageDecodeError):
    """A message whose class has different fields at the sender, so it cannot be built here."""


class TopicPermissionError(TopicError, PermissionError):
    """Shared memory that belongs to somebody else, or a symbolic link in its place."""


class RecordingError(HorusError):
    """Something about a recorded session."""


class SessionNotFoundError(RecordingError, LookupError):
    """No session of that name, or no such file."""


class SessionExistsError(RecordingError):
    """A session of that name already exists."""


class SessionNameError(RecordingError, ValueError):
    """A session name that cannot be a folder name."""


class DamagedRecordingError(RecordingError):
    """A file that is not a recording, or is damaged where it matters."""


class UnsupportedVersionError(RecordingError):
    """A recording written by a format version this release does not know."""


class LaunchError(HorusError):
    """A launch file has errors, or its programs cannot be started together. ``problems`` names each, in one line."""

    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: os.PathLike[str], problems: Iterable[str]) -> Self:
        """The error of a file with these problems."""
        found = tuple(printable(f"{os.fspath(file)}: {problem}") for problem in problems)
        self = cls("\n".join(found))
        self.problems = found
        return self


class ReplayError(HorusError):
    """Replay options that cannot be met."""


class BlackBoxError(HorusError):
    """A black box that cannot be opened, written or read."""

    in_use = False
    """True if another run writes into the box of this name."""
    no_place = False
    """True if there is no home folder, or nothing can be made in the folder for boxes."""


class FramesError(HorusError, LookupError):
    """A frame that is not known, two that are not connected, or an edge between frames that makes no sense."""


class ExtrapolationError(FramesError):
    """An edge on the way holds nothing of the time asked for, and nothing is guessed.

    ``gap`` is how far off that time is, in seconds: above 0 after the edge's newest sample, so that it may still come;
    below 0 before its oldest, so that it is gone.
    """

    def __init__(self, message: str, gap: float = 0.0) -> None:
        super().__init__(message)
        self.gap = gap


class LimitError(HorusError):
    """The system gives this process no thread, no memory, or does not let it run in real time."""


class ParamError(HorusError, ValueError):
    """There is no such parameter, or it cannot have that value."""


class PredicateError(HorusError, ValueError):
    """It is no condition over the fields of messages, or fits none of them."""


class ServiceError(HorusError):
    """A service failed: the text is that of the node that provides it."""


class ServiceTimeoutError(ServiceError, TimeoutError):
    """No reply came in time."""


class ActionError(HorusError):
    """A goal has no result: it was refused, given up, or carrying it out failed."""

    state = "failed"
    """``rejected``, ``cancelled``, ``preempted``, ``failed``, or ``lost`` where nobody took it up."""


class TraceError(HorusError):
    """A policy trace that cannot be read."""


class PolicyError(HorusError):
    """A policy that cannot be loaded, or that failed."""


class DeterminismError(HorusError):
    """Under ``Guard.ERROR``, a node of a deterministic run asked for something that differs from run to run."""


class AppError(HorusError):
    """A program that the command line cannot load, or that failed."""

    failed = False
    """True if the program was found, but raised an error of its own."""
