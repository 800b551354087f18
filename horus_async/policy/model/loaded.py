"""A loaded policy, whatever it was loaded from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@frozen
class LoadedPolicy:
    """A policy ready to be asked, and what a trace header says about it."""

    name: str
    act: Callable[[dict[str, Any]], Any]
    reset: Callable[[str], Any] | None = None
    warm_up: Callable[[], Any] | None = None
    is_async: bool = False
    concurrency: int = field(default=1, validator=[validators.instance_of(int), validators.ge(1)])
    model_hash: str = ""
    config_hash: str = ""
    export_dir: str = ""
    model_type: str = ""
    export_kind: str = ""
    embodiment: str | None = None
    providers: tuple[str, ...] = field(default=(), converter=tuple)
    mode: str = ""
    onnxruntime: str = ""
    metadata: Mapping[str, Any] = field(factory=dict)
    """What the policy says about itself, as it says it."""
