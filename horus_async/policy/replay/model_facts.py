"""What a report says of the model that answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from horus_async.policy.model.loaded import LoadedPolicy


@frozen
class ModelFacts:
    """Name, hashes and kind of a model, under the names of a trace's header; ``stateful``: it has a ``reset``."""

    name: str
    model_hash: str
    config_hash: str
    model_type: str
    export_kind: str
    embodiment: str | None
    providers: tuple[str, ...]
    stateful: bool


def facts_of(policy: LoadedPolicy) -> ModelFacts:
    """The facts of a loaded policy."""
    return ModelFacts(
        policy.name,
        policy.model_hash,
        policy.config_hash,
        policy.model_type,
        policy.export_kind,
        policy.embodiment,
        policy.providers,
        policy.reset is not None,
    )
