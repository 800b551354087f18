"""Against SIGBUS: what a thread meets that reads or writes mapped memory whose file somebody cut short.

A file that others can write can be cut at any moment, also between a look at its size and the access, and nothing but
a signal tells. Sealing would prevent it, but only files without a name can be sealed; copying through ``pread`` and
asking for the size cost each message a call to the system. So there is a handler: it puts private memory where the
file was, whose header says that the ring has ended and that nothing is left of it (`region.OVER`), and lets the access
go on. Readers then drop what they were copying, by the rule for overwritten messages, and leave the ring; a writer goes
on in a new one. Where nothing is cut this costs nothing.

The handler is a Python function that ``ctypes`` calls. It may be, since it never comes unexpected: accesses to rings
come from Python's own copying and comparing, in the middle of no allocation. Any other SIGBUS goes to whoever handled
it before. Only on Linux; elsewhere rings are as safe as the other processes of their user are careful.
"""

from __future__ import annotations

import os
import signal
import sys
import weakref
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any

from .layout import HEADER_WORDS, Word

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

OVER = (1 << 64) - 8
"""Stored in ``OLDEST`` it says that nothing is left, and that what is being copied is torn."""

_MACHINES = ("x86_64", "aarch64")
"""Where the structures have the layout below."""
_ADDRESS_AT, _CODE_AT = 16, 8
"""In ``siginfo_t``: of the memory that was not there, and of the reason, below 1 where the signal was sent."""
_FIXED = 0x10
"""``MAP_FIXED``."""
_RESERVE_NOTHING = 0x4000
"""``MAP_NORESERVE``."""


class Guarded:
    """One mapped file."""

    __slots__ = ("_map", "begin", "end", "name", "on_cut", "own")

    def __init__(self, memory: mmap.mmap, begin: int, name: str, *, own: bool) -> None:
        self.begin = begin
        self.end = begin + len(memory)
        self.name = name
        self.own = own
        """Whether this process writes it."""
        self.on_cut: Callable[[], object] | None = None
        """Called by the handler, and so in the middle of anything: it may only set something."""
        self._map = weakref.ref(memory, self._forget)  # its memory is unmapped after this is called

    def _forget(self, _: object) -> None:
        _guarded.pop(self.begin, None)


_guarded: dict[int, Guarded] = {}
"""By address."""
_cut: deque[Guarded] = deque()
"""What was cut short and nobody has told of yet."""


def guard(memory: mmap.mmap, name: str, *, own: bool = False) -> Guarded | None:
    """Let nobody who cuts the file of ``memory`` short end this process; None where that is not possible.

    Args:
        memory: a mapping of all of the file, not touched yet.
        name: of the file, for messages.
        own: whether this process writes it.
    """
    handler = _installed()
    if handler is None:
        return None
    guarded = Guarded(memory, handler.address_of(memory), name, own=own)
    _guarded[guarded.begin] = guarded
    return guarded


def keep() -> None:
    """See that the handler is still there: ``faulthandler`` takes it away when it is turned off."""
    if _guarded:
        _installed()


def cut_files() -> list[Guarded]:
    """The files that were cut short since the last call."""
    found = []
    while _cut:
        found.append(_cut.popleft())
    return found


class _Handler:
    """The handler of SIGBUS of this process."""

    def __init__(self) -> None:
        import ctypes  # late: only who maps rings needs it

        class Action(ctypes.Structure):
            """``struct sigaction``."""

            _fields_ = (
                ("handler", ctypes.c_void_p),
                ("mask", ctypes.c_ubyte * 128),
                ("flags", ctypes.c_int),
                ("restorer", ctypes.c_void_p),
            )

        self._ctypes = ctypes
        self._libc = ctypes.PyDLL(None)  # keeps the interpreter locked: no other thread comes in between
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(self._handle)
        self._ours = Action(handler=ctypes.cast(self._function, ctypes.c_void_p).value, flags=4)  # SA_SIGINFO
        self._before = Action()
        self._now = Action()
        self._gave_up = False

    def install(self) -> None:
        """Handle SIGBUS from now on, unless it does already."""
        byref, sigaction = self._ctypes.byref, self._libc.sigaction
        sigaction(signal.SIGBUS, None, byref(self._now))
        if self._now.handler != self._ours.handler and not self._gave_up:
            self._before, self._now = self._now, self._before
            sigaction(signal.SIGBUS, byref(self._ours), None)

    def address_of(self, memory: mmap.mmap) -> int:
        """Where a mapping begins."""
        return self._ctypes.addressof(self._ctypes.c_char.from_buffer(memory))

    def _handle(self, signum: int, info: int, _: Any) -> None:
        code = self._ctypes.c_int.from_address(info + _CODE_AT).value
        address = self._ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
        if code > 0:
            for guarded in list(_guarded.values()):
                if guarded.begin <= address < guarded.end:
                    self._replace(guarded)
                    return
        self._pass_on(signum, sent=code <= 0)

    def _replace(self, guarded: Guarded) -> None:
        import mmap

        self._libc.mmap(
            guarded.begin,
            guarded.end - guarded.begin,
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED | _RESERVE_NOTHING,
            -1,
            0,
        )
        words = (self._ctypes.c_uint64 * HEADER_WORDS).from_address(guarded.begin)
        words[Word.OLDEST] = OVER
        words[Word.CLOSED] = 1
        _cut.append(guarded)
        if guarded.on_cut is not None:
            guarded.on_cut()

    def _pass_on(self, signum: int, *, sent: bool) -> None:
        """Not ours: leave it to who handled it before; the access that caused it is tried again then."""
        if self._gave_up:  # that one has called us
            self._libc.sigaction(signum, self._ctypes.byref(type(self._ours)()), None)  # SIG_DFL
        else:
            self._gave_up = True
            self._libc.sigaction(signum, self._ctypes.byref(self._before), None)
        if sent:
            # To this thread, which gets it when this returns; another one would get it while this one goes on.
            signal.pthread_kill(get_ident(), signum)


_handlers: list[_Handler] = []


def _installed() -> _Handler | None:
    if not _handlers:
        if sys.platform != "linux" or os.uname().machine not in _MACHINES:
            return None
        try:
            _handlers.append(_Handler())
        except (ImportError, OSError, AttributeError):  # a Python without ctypes
            return None
    _handlers[0].install()
    return _handlers[0]
