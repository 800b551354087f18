"""A loaded policy, whatever it was loaded from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TEXT = validators.instance_of(str)


@frozen
class LoadedPolicy:
    """A policy ready to be asked, and what a trace header says about it.

    ``episodes`` is how it keeps the states of its episodes, None where it does not say; ``make`` makes another instance
    of it, None where it was given as an object.
    """

    name: str
    act: Callable[[dict[str, Any]], Any]
    reset: Callable[[str], Any] | None = None
    warm_up: Callable[[], Any] | None = None
    is_async: bool = False
    concurrency: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    model_hash: str = field(default="", validator=_TEXT)
    config_hash: str = field(default="", validator=_TEXT)
    export_dir: str = field(default="", validator=_TEXT)
    model_type: str = field(default="", validator=_TEXT)
    export_kind: str = field(default="", validator=_TEXT)
    embodiment: str | None = field(default=None, validator=validators.optional(_TEXT))
    providers: tuple[str, ...] = field(default=(), converter=tuple)
    mode: str = field(default="", validator=_TEXT)
    onnxruntime: str = field(default="", validator=_TEXT)
    metadata: Mapping[str, Any] = field(factory=dict)
    """What the policy says about itself, as it says it."""
    episodes: str | None = None
    make: Callable[[], LoadedPolicy] | None = None
