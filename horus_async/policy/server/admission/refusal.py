"""Requests that are not answered: each with an HTTP status and a JSON body ``{"error", "message", "request_id"}``."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import orjson

from horus_async.errors import HorusError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


class Refusal(HorusError):  # noqa: N818 - an outcome of a request, not a fault
    """A request that gets no actions: HTTP status, a stable short name, a message, and headers."""

    def __init__(self, status: int, slug: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.slug = slug
        self.headers = dict(headers or {})


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's ``X-Request-ID`` if it is valid (up to 128 of ``A-Za-z0-9._:-``), else a new one."""
    sent = headers.get("x-request-id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def error_body(slug: str, message: str, request_id: str) -> bytes:
    """The JSON body of every answer other than a 200."""
    return orjson.dumps({"error": slug, "message": message, "request_id": request_id})
