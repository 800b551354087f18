"""``policy.json``, read strictly: every key is known, and every value has the type that it must have.

What only the graphs can tell (names, lengths, dtypes) is checked in ``chain`` and where the policy is put together.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from attrs import field, frozen

from horus_async.errors import PolicyError
from horus_async.spelling import did_you_mean

from .scaling import STATISTICS, Method, Scaling

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

_T = TypeVar("_T")

CONFIG_FILE = "policy.json"
_INPUT_KEYS = ("field", "from", "noise", "shape", *STATISTICS)
_OUTPUT_KEYS = ("name", *STATISTICS)
_MODEL_KEYS = ("file", "inputs", "outputs", "repeat")
_REPEAT_KEYS = ("steps", "input", "velocity", "time", "start", "end")
_DESCRIPTION_KEYS = ("action_names", "embodiment", "model_type", "export_kind", "providers", "concurrency")
_KEYS = ("model", "models", "inputs", "output", *_DESCRIPTION_KEYS)
_LONGEST = 1 << 20
"""Bytes of the file: statistics of ten thousands of dimensions."""
_MOST_STEPS = 10_000
_LATEST = 10_000


@frozen
class InputConfig:
    """One input of a graph: where its value comes from, its shape if the graph leaves it open, its normalisation."""

    field: str | None = None
    source: str | None = None
    noise: bool | None = None
    shape: tuple[int, ...] | None = None
    scaling: Scaling | None = None


@frozen
class OutputConfig:
    """Actions, or some of their dimensions: the name of the value, and the normalisation to take back."""

    name: str | None = None
    scaling: Scaling | None = None


@frozen
class Repeat:
    """A graph that is run ``steps`` times, as flow matching does: ``input += velocity * (end - start) / steps``."""

    steps: int
    input: str
    velocity: str
    time: str | None = None
    start: float = 1.0
    end: float = 0.0


@frozen
class ModelConfig:
    """One graph: its file (None: the only one of the folder), its inputs, other names for its outputs, its loop."""

    file: str | None = None
    inputs: Mapping[str, InputConfig] = field(factory=dict)
    outputs: Mapping[str, str] = field(factory=dict)
    repeat: Repeat | None = None


@frozen
class Config:
    """What a ``policy.json`` says; ``raw`` is what it held."""

    models: tuple[ModelConfig, ...] = (ModelConfig(),)
    outputs: tuple[OutputConfig, ...] = (OutputConfig(),)
    action_names: tuple[str, ...] = ()
    embodiment: str | None = None
    model_type: str = "onnx"
    export_kind: str | None = None
    providers: tuple[str, ...] = ()
    concurrency: int | None = None
    raw: Mapping[str, Any] = field(factory=dict)


def read_config(folder: Path) -> Config:
    """What ``policy.json`` in ``folder`` says; the defaults if there is none.

    Raises:
        PolicyError: it cannot be read, has a key that nobody knows, or a value of the wrong type.
    """
    path = folder / CONFIG_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} bytes")
        text = data.decode()
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        raise PolicyError(f"cannot read {path}: {error}") from error
    try:
        said = json.loads(text, object_pairs_hook=_without_doubles)
        orjson.dumps(said)  # first: no error can show half a surrogate pair
        config = _config(said)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
    # TypeError: an integer beyond 64 bits or half a surrogate pair, which Python's parser lets through.
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError(f"{path} is not JSON: {error}") from error
    return config


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise PolicyError(f"the key {twice!r} is there twice")
    return found


def _config(value: Any) -> Config:
    said = _object(value, "the file", _KEYS)
    if "models" in said and (both := {"model", "inputs"} & said.keys()):
        raise PolicyError(f"{sorted(both)} belong to a single graph; with 'models' each model has its own")
    if "models" in said:
        models = tuple(_listed(said["models"], "models", _model))
    else:
        file = _file(said["model"], "model") if "model" in said else None
        models = (ModelConfig(file, _inputs(said.get("inputs", {}), "inputs")),)
    return Config(
        models=models,
        outputs=_outputs(said["output"]) if "output" in said else (OutputConfig(),),
        action_names=tuple(_listed(said["action_names"], "action_names", _text)) if "action_names" in said else (),
        embodiment=_text(said["embodiment"], "embodiment") if "embodiment" in said else None,
        model_type=_text(said.get("model_type", "onnx"), "model_type"),
        export_kind=_text(said["export_kind"], "export_kind") if "export_kind" in said else None,
        providers=tuple(_listed(said["providers"], "providers", _text)) if "providers" in said else (),
        concurrency=_whole(said["concurrency"], "concurrency") if "concurrency" in said else None,
        raw=said,
    )


def _model(value: Any, where: str) -> ModelConfig:
    said = _object(value, where, _MODEL_KEYS)
    if "file" not in said:
        raise PolicyError(f"{where} needs a 'file', the name of an .onnx file of the folder")
    renamed = _object(said.get("outputs", {}), f"{where}.outputs")
    return ModelConfig(
        _file(said["file"], f"{where}.file"),
        _inputs(said.get("inputs", {}), f"{where}.inputs"),
        {name: _text(other, f"{where}.outputs.{name}") for name, other in renamed.items()},
        _repeat(said["repeat"], f"{where}.repeat") if "repeat" in said else None,
    )


def _repeat(value: Any, where: str) -> Repeat:
    said = _object(value, where, _REPEAT_KEYS)
    for key in ("steps", "input", "velocity"):
        if key not in said:
            raise PolicyError(f"{where} needs {key!r}")
    steps = _whole(said["steps"], f"{where}.steps")
    if steps > _MOST_STEPS:
        raise PolicyError(f"{where}.steps is {steps}, the most is {_MOST_STEPS}")
    start, end = (_number(said.get(key, default), f"{where}.{key}") for key, default in (("start", 1), ("end", 0)))
    if max(abs(start), abs(end)) > _LATEST:
        raise PolicyError(f"{where}: start {start:g} and end {end:g} must be within {_LATEST} of 0")
    if start == end:
        raise PolicyError(f"{where}: start and end are both {start:g}, so that no step would do anything")
    return Repeat(
        steps,
        _text(said["input"], f"{where}.input"),
        _text(said["velocity"], f"{where}.velocity"),
        _text(said["time"], f"{where}.time") if "time" in said else None,
        start,
        end,
    )


def _inputs(value: Any, where: str) -> dict[str, InputConfig]:
    return {name: _input(said, f"{where}.{name}") for name, said in _object(value, where).items()}


def _input(value: Any, where: str) -> InputConfig:
    said = _object({"field": value} if isinstance(value, str) else value, where, _INPUT_KEYS)
    noise = said.get("noise")
    if "noise" in said and type(noise) is not bool:
        raise PolicyError(f"{where}.noise must be true or false, not {_shown(noise)}")
    if "from" in said and (odd := [key for key in _INPUT_KEYS if key in said and key != "from"]):
        raise PolicyError(f"{where} comes from another model, so it cannot have {', '.join(map(repr, odd))} as well")
    scaling = _scaling(said, where)
    if noise and scaling:
        raise PolicyError(f"{where} is noise, which is not normalised")
    return InputConfig(
        _text(said["field"], f"{where}.field") if "field" in said else None,
        _text(said["from"], f"{where}.from") if "from" in said else None,
        noise,
        tuple(_listed(said["shape"], f"{where}.shape", _whole)) if "shape" in said else None,
        scaling,
    )


def _outputs(value: Any) -> tuple[OutputConfig, ...]:
    if isinstance(value, list):
        return tuple(_listed(value, "output", _output))
    return (_output(value, "output"),)


def _output(value: Any, where: str) -> OutputConfig:
    said = _object({"name": value} if isinstance(value, str) else value, where, _OUTPUT_KEYS)
    return OutputConfig(_text(said["name"], f"{where}.name") if "name" in said else None, _scaling(said, where))


def _scaling(said: dict[str, Any], where: str) -> Scaling | None:
    methods = [method for method in Method if set(method.value) & said.keys()]
    if not methods:
        return None
    if len(methods) > 1:
        raise PolicyError(f"{where} has {[key for key in STATISTICS if key in said]}: one normalisation at a time")
    method = methods[0]
    given: dict[str, tuple[float, ...]] = {
        key: tuple(_listed(said[key], f"{where}.{key}", _number)) for key in method.value if key in said
    }
    if len(given) == 1 and method is not Method.MEAN_STD:
        missing = next(key for key in method.value if key not in given)
        raise PolicyError(f"{where} has {next(iter(given))!r} without {missing!r}")
    length = len(next(iter(given.values())))
    first, second = (given.get(key, (neutral,) * length) for key, neutral in zip(method.value, (0.0, 1.0), strict=True))
    try:
        return Scaling(method, first, second)
    except PolicyError as error:
        raise PolicyError(f"{where}: {error}") from error


def _object(value: Any, where: str, known: Collection[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must be an object, not {_shown(value)}")
    for key in value:
        if known is not None and key not in known:
            place = f"{where} has the key {key!r}, which nothing reads"
            raise PolicyError(place + (did_you_mean(key, known) or f"; known are {', '.join(sorted(known))}"))
    return value


def _listed(value: Any, where: str, item: Callable[[Any, str], _T]) -> list[_T]:
    if not isinstance(value, list) or not value:
        raise PolicyError(f"{where} must be a list of at least one, not {_shown(value)}")
    return [item(part, f"{where}[{at}]") for at, part in enumerate(value)]


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PolicyError(f"{where} must be a finite number, not {_shown(value)}")
    return number


def _whole(value: Any, where: str) -> int:
    if type(value) is not int or not 0 < value < 1 << 31:
        raise PolicyError(f"{where} must be a whole number from 1, not {_shown(value)}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise PolicyError(f"{where} must be text, not {_shown(value)}")
    return value


def _file(value: Any, where: str) -> str:
    """A file's name, perhaps in a subfolder. It may not lead out of the export: its hash would not cover the file."""
    name = _text(value, where)
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0] or "\0" in name:
        raise PolicyError(f"{where} must be a file inside the folder, not {_shown(name)}")
    return name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
