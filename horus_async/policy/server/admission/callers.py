"""Who may ask a server that has no key: programs, not the web pages of others.

A page in a browser on this machine, or in its network, can send requests here. It cannot change two headers: ``Host``
has the name by which the page knows this server, and ``Origin`` where the page comes from. A name of the attacker's
that leads here (DNS rebinding) is none of ours; an address is no name, and cannot be made to lead elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import ConfigurationError

from .refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]]+?)\.?(?::([0-9]{1,5}))?", re.IGNORECASE)
_ORIGIN = re.compile(r"(https?)://([^/]+)", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_LOCALHOST = "localhost"
_PORTS = {"http": "80", "https": "443"}
_SHOWN = 80


@frozen
class Callers:
    """By which names this server may be asked. ``addresses``: by any address, as it listens on more than loopback."""

    names: frozenset[str]
    """Those of this machine and those that were allowed, in lower case."""
    allowed: frozenset[str]
    """Those that were allowed; their pages may ask, too."""
    addresses: bool

    @classmethod
    def of(cls, host: str, allowed: Iterable[str]) -> Callers:
        """Those of a server that listens on ``host``.

        Raises:
            ConfigurationError: one of ``allowed`` is no name or address of a host.
        """
        chosen = frozenset(map(_checked, allowed))
        if is_loopback(host):
            return cls(chosen, chosen, addresses=False)
        machine = socket.gethostname().lower()
        return cls(chosen | {host.lower(), machine, f"{machine}.local"}, chosen, addresses=True)

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Let through what has our name, and comes from a program or from a page of ours.

        Raises:
            Refusal: 403 ``foreign-host`` or ``foreign-origin``.
        """
        sent = [(name.lower(), value.decode("latin-1").strip()) for name, value in headers]
        # Only HTTP/1.0 has none, which browsers do not speak.
        hosts = [value for name, value in sent if name == b"host"]
        for host in hosts:
            if not self._is_ours(host):
                message = f"this server has no key, and {host[:_SHOWN]!r} is none of its names"
                raise Refusal(403, "foreign-host", f"{message}: serve with {_way_out(host)}")
        for origin in (value for name, value in sent if name == b"origin"):
            if not any(self._is_our_page(origin, host) for host in hosts):
                message = f"this server has no key, and takes nothing from pages of {origin[:_SHOWN]!r}"
                match = _ORIGIN.fullmatch(origin)
                raise Refusal(403, "foreign-origin", f"{message}: serve with {_way_out(match[2] if match else '')}")

    def _is_ours(self, authority: str) -> bool:
        name, _ = _parts(authority)
        named = bool(name) and name in self.names
        return named or is_loopback(name) or (self.addresses and _address(name) is not None)

    def _is_our_page(self, origin: str, host: str) -> bool:
        """Whether a page is from this server itself, or from a host that was allowed."""
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return False
        name, port = _parts(match[2])
        own_name, own_port = _parts(host)
        usual = _PORTS[match[1].lower()]
        same_port = (port or usual) == (own_port or usual)
        same_host = name == own_name or (is_loopback(name) and is_loopback(own_name))
        return name in self.allowed or (same_port and same_host)


def is_loopback(host: str) -> bool:
    """Whether a name or an address leads to this machine alone."""
    address = _address(host)
    if address is None:
        return host.lower() == _LOCALHOST
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _parts(authority: str) -> tuple[str, str | None]:
    """Name, in lower case, or address, and port; no name if it is neither."""
    match = _AUTHORITY.fullmatch(authority)
    return (match[1].lower().strip("[]"), match[2]) if match else ("", None)


def _way_out(authority: str) -> str:
    name, _ = _parts(authority)
    return f"--allow-host {name}, or --api-key KEY" if _NAME.fullmatch(name) else "--api-key KEY"


def _checked(name: str) -> str:
    if _NAME.fullmatch(name.lower()) or _address(name) is not None:
        return name.lower()
    raise ConfigurationError(
        f"{name!r} is no name of a host: give it without scheme, port and wildcards, as in robot7.example"
    )
