"""Shared memory, for ``horus-async doctor``: room, permissions, and what dead processes left in it."""

from __future__ import annotations

import pwd
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from horus_async.hints.installed import command
from horus_async.topics.ring import memory

from .finding import MIB, Finding, Verdict, size

if TYPE_CHECKING:
    from pathlib import Path

    from .machine import Folder, Machine, Space

_LITTLE, _NONE = 128 * MIB, 8 * MIB
_SHOWN = 3


def check_shared_memory(machine: Machine) -> Finding:
    """The folder in which topics keep their messages: is it in memory, writable, and large enough?"""
    check, ours = "shared memory", machine.topics_folder()
    folder, parent = machine.folder(ours), machine.folder(ours.parent)
    space = machine.space(ours.parent)
    if folder is None or parent is None or space is None:
        return Finding(check, Verdict.UNKNOWN, f"{ours.parent} cannot be examined")
    measured = {
        "folder": str(ours),
        "mode": f"{folder.mode:04o}" if folder.exists else None,
        "parent_mode": f"{parent.mode:04o}",
        "total_bytes": space.total,
        "free_bytes": space.free,
    }
    private = f", {ours.name} is private" if folder.exists else ""
    detail = f"{ours.parent}: {size(space.free)} of {size(space.total)} free{private}"
    if refused := _refusal(machine, folder, parent, ours):
        return Finding(check, Verdict.BROKEN, *refused, measured)
    if exposed := _exposure(machine, folder, parent, ours):
        return Finding(check, Verdict.WARNING, *exposed, measured)
    return Finding(check, *_room(space, ours.parent, detail), measured)


def _room(space: Space, parent: Path, detail: str) -> tuple[Verdict, str, str]:
    """Whether there is enough room, and whether it is in memory."""
    enlarge = f"sudo mount -o remount,size=1G {parent}; in a container: docker run --shm-size=1g"
    if space.free < _NONE:
        return Verdict.BROKEN, detail, f"make room, or {enlarge}"
    if sys.platform == "linux" and parent.name != "shm":
        return Verdict.WARNING, f"{detail}, which may be a disk", "mount a tmpfs at /dev/shm"
    if space.free < _LITTLE:
        return Verdict.WARNING, f"{detail}: little for images and scans", enlarge
    return Verdict.OK, detail, ""


def _refusal(machine: Machine, folder: Folder, parent: Folder, ours: Path) -> tuple[str, str] | None:
    """Why topics cannot use their folder, and what to do; None if they can."""
    if folder.exists and (folder.is_link or not folder.is_folder):
        return f"{ours} is not a folder but a link or a file", f"remove it: rm {ours}"
    if folder.exists and folder.owner != machine.user:
        return f"{ours} belongs to user {folder.owner}, not to user {machine.user}", f"remove it: sudo rm -r {ours}"
    if not (folder if folder.exists else parent).writable:
        advice = f"sudo chmod 1777 {ours.parent}, or mount it writable (docker run --tmpfs {ours.parent})"
        return f"{ours if folder.exists else ours.parent} is not writable", advice
    return None


def _exposure(machine: Machine, folder: Folder, parent: Folder, ours: Path) -> tuple[str, str] | None:
    """What other users may do to the topics' folder, and what to do about it; None if nothing."""
    if folder.exists and folder.mode & 0o077:
        return f"{ours} is open to others (mode {folder.mode:04o})", f"chmod 700 {ours}; the next topic does it too"
    if parent.owner != machine.user and parent.mode & 0o022 and not parent.mode & stat.S_ISVTX:
        removable = f"others may remove {ours}: {ours.parent} has mode {parent.mode:04o}, without the sticky bit"
        return removable, f"sudo chmod 1777 {ours.parent}"
    return None


def other_users() -> str | None:
    """A sentence about the users who have topics on this machine, other than this one; None if there are none."""
    ours = memory.root()
    found = []
    for folder in sorted(ours.parent.glob("horus-*")):
        with suppress(OSError):
            status = folder.lstat()
            number = folder.name.removeprefix("horus-")
            # nobody else may look into it, but a folder's links tell that it has folders
            if folder != ours and number == str(status.st_uid) and stat.S_ISDIR(status.st_mode) and status.st_nlink > 2:
                found.append(_name_of(status.st_uid))
    if not found:
        return None
    whom = "another user has" if len(found) == 1 else "other users have"
    return f"topics are heard by one user only, and {whom} some: {', '.join(found[:_SHOWN])}; run both as the same user"


def _name_of(user: int) -> str:
    try:
        return f"{pwd.getpwuid(user).pw_name} (user {user})"
    except KeyError:
        return f"user {user}"


def check_topics(machine: Machine) -> Finding:
    """The memory that topics use now, and what dead processes left behind."""
    rings = machine.rings()
    dead = [ring for ring in rings if ring.live is False]
    used = sum(ring.size for ring in rings)
    measured = {"rings": len(rings), "bytes": used, "dead_rings": len(dead), "dead_bytes": sum(r.size for r in dead)}
    detail = f"{_rings(len(rings))} {size(used)}" if rings else "none open"
    if unreadable := machine.unreadable_rings():
        title = "1 is not read" if len(unreadable) == 1 else f"{len(unreadable)} are not read"
        detail = f"{detail}; {title}: {unreadable[0]}"
        advice = "end or update the programs that made them, or remove the files"
        return Finding("topics", Verdict.WARNING, detail, advice, measured | {"unreadable": unreadable})
    if dead:
        whose = "belongs to a dead process" if len(dead) == 1 else "belong to dead processes"
        detail = f"{detail}, of which {len(dead)} with {size(measured['dead_bytes'])} {whose}"
        namespaces = sorted({ring.path.parent.name for ring in dead})
        clean = "; ".join(command(f"topic clean --namespace {name}") for name in namespaces[:_SHOWN])
        left = len(namespaces) - _SHOWN
        more = f"; and {left} more namespace{'' if left == 1 else 's'}" if left > 0 else ""
        return Finding("topics", Verdict.WARNING, detail, clean + more, measured | {"dead_namespaces": namespaces})
    if any(ring.live is None for ring in rings):
        return Finding("topics", Verdict.UNKNOWN, f"{detail}; cannot tell which are alive", "", measured)
    return Finding("topics", Verdict.OK, detail, measured=measured)


def _rings(count: int) -> str:
    return "1 ring uses" if count == 1 else f"{count} rings use"
