"""Several graphs in a row: each input is filled by the request, by noise, or by what an earlier graph gave.

The values have names: those of the outputs, unless ``policy.json`` gives them others. All of it is checked before the
first request: names that nothing gives, values that come only later, graphs and names that nothing uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from horus_async.errors import PolicyError
from horus_async.spelling import did_you_mean

from .config import InputConfig, ModelConfig, OutputConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy

    from .config import Repeat
    from .graph import Graph, Port

_ACTIONS = ("actions", "action")


@frozen
class Free:
    """An input that no other graph fills: the request does, or noise."""

    key: str
    port: Port
    said: InputConfig


@frozen
class Step:
    """One graph in the chain. ``inputs`` and ``outputs`` map the graph's names to those of the values."""

    graph: Graph
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    repeat: Repeat | None = None


@frozen
class Chain:
    """The graphs in their order, the inputs to be filled, and which values are the actions."""

    steps: tuple[Step, ...]
    free: tuple[Free, ...]
    actions: tuple[tuple[Port, str, OutputConfig], ...]

    def run(self, values: Mapping[str, numpy.ndarray]) -> list[numpy.ndarray]:
        """The actions, as the graphs give them. ``values`` holds an array for the key of each free input.

        Raises:
            PolicyError: onnxruntime failed.
        """
        known = dict(values)
        for step in self.steps:
            known |= _repeated(step, known) if step.repeat else _once(step, known)
        return [known[name] for _, name, _ in self.actions]


def chained(graphs: Sequence[Graph], models: Sequence[ModelConfig], outputs: Sequence[OutputConfig]) -> Chain:
    """Put graphs together as ``policy.json`` says.

    Raises:
        PolicyError: a name that nothing gives, that comes only later, or that nothing uses; dtypes and shapes that do
            not fit each other.
    """
    building = _Building(tuple(graphs), tuple(models))
    for at in range(len(graphs)):
        building.add(at)
    actions = tuple(building.action(said) for said in outputs)
    needed = {name for _, name, _ in actions}
    steps: list[Step] = []
    for step, model in reversed(list(zip(building.steps, models, strict=True))):
        used = {output: name for output, name in step.outputs.items() if name in needed}
        if not used:
            raise PolicyError(f"nothing uses what {step.graph.file} gives ({', '.join(step.outputs.values())})")
        if spare := [name for name in model.outputs if name not in used]:
            raise PolicyError(f"nothing uses the output {spare[0]!r} of {step.graph.file}")
        for port in step.graph.outputs:
            if port.name in used:
                port.check_dtype(f"the output {port.name!r} of {step.graph.file}")
        needed |= set(step.inputs.values())
        steps.append(Step(step.graph, step.inputs, used, step.repeat))
    return Chain(tuple(reversed(steps)), tuple(building.free), actions)


@frozen
class _Building:
    """A chain that is being put together."""

    graphs: tuple[Graph, ...]
    models: tuple[ModelConfig, ...]
    steps: list[Step] = field(factory=list)
    free: list[Free] = field(factory=list)
    known: dict[str, Port] = field(factory=dict)

    def add(self, at: int) -> None:
        graph, model = self.graphs[at], self.models[at]
        names = [port.name for port in graph.inputs]
        for name in model.inputs:
            if name not in names:
                raise PolicyError(
                    f"{graph.file} has no input {name!r}, only {sorted(names)}{did_you_mean(name, names)}"
                )
        inputs = {
            port.name: self._source(at, port, model.inputs.get(port.name, InputConfig())) for port in graph.inputs
        }
        outputs = _names(graph, model)
        for port in graph.outputs:
            name = outputs[port.name]
            if name in self.known:
                raise PolicyError(
                    f"two models give the value {name!r}; give one another name: "
                    f'{{"file": {graph.file!r}, "outputs": {{{port.name!r}: "..."}}}}'
                )
            self.known[name] = port
        if model.repeat is not None:
            _check_repeat(graph, model.repeat)
            self.known[outputs[model.repeat.velocity]] = _port(graph.inputs, model.repeat.input)
        self.steps.append(Step(graph, inputs, outputs, model.repeat))

    def _source(self, at: int, port: Port, said: InputConfig) -> str:
        """The name of the value that fills an input."""
        graph, repeat = self.graphs[at], self.models[at].repeat
        place = f"the input {port.name!r} of {graph.file}"
        port.check_dtype(place)
        if repeat is not None and port.name == repeat.time:
            if port.name in self.models[at].inputs:
                raise PolicyError(f"{place} is the time of its repeat, which nothing else fills")
            return ""
        name = said.source
        if name is None and said.field is None and not said.noise:
            name = self._by_name(at, port, said)
        if name is None:
            key = f"{at}/{port.name}"
            self.free.append(Free(key, port, said))
            return key
        if name not in self.known:
            raise PolicyError(f"{place} comes from {name!r}, {self._why_unknown(at, name)}")
        _check_fit(self.known[name], port, place, name)
        return name

    def _by_name(self, at: int, port: Port, said: InputConfig) -> str | None:
        """The value of an earlier graph that has the name of an input."""
        place = f"the input {port.name!r} of {self.graphs[at].file}"
        for graph, model in zip(self.graphs[at + 1 :], self.models[at + 1 :], strict=True):
            if port.name in _names(graph, model).values():
                raise PolicyError(
                    f"{place} has the name of what {graph.file} gives only later; say its 'field' or 'from'"
                )
        if port.name not in self.known:
            return None
        if said.shape or said.scaling:
            raise PolicyError(
                f"{place} has the name of what an earlier model gives; say its 'field' to shape or scale it"
            )
        return port.name

    def _why_unknown(self, at: int, name: str) -> str:
        for graph, model in zip(self.graphs[at:], self.models[at:], strict=True):
            if name in _names(graph, model).values():
                return f"which {graph.file} gives only {'later' if graph is not self.graphs[at] else 'itself'}"
        return f"which no model gives{did_you_mean(name, self.known) or f'; known are {sorted(self.known)}'}"

    def action(self, said: OutputConfig) -> tuple[Port, str, OutputConfig]:
        name, last = said.name, list(self.steps[-1].outputs.values())
        if name is None:
            name = next((name for name in _ACTIONS if name in self.known), last[0] if len(last) == 1 else _ACTIONS[0])
        if name not in self.known:
            raise PolicyError(
                f"the model has no output {name!r}, only {sorted(self.known)}{did_you_mean(name, self.known)}"
                + ("" if said.name else "; name one (or a list of several) as 'output' in policy.json")
            )
        return self.known[name], name, said


def _names(graph: Graph, model: ModelConfig) -> dict[str, str]:
    """The names of the values that a graph gives, by those of its outputs."""
    own = [port.name for port in graph.outputs]
    asked = [*model.outputs, *([model.repeat.velocity] if model.repeat else [])]
    for name in asked:
        if name not in own:
            raise PolicyError(f"{graph.file} has no output {name!r}, only {sorted(own)}{did_you_mean(name, own)}")
    return {name: model.outputs.get(name, name) for name in own}


def _port(ports: Sequence[Port], name: str) -> Port:
    return next(port for port in ports if port.name == name)


def _check_repeat(graph: Graph, repeat: Repeat) -> None:
    names = {port.name: port for port in graph.inputs}
    for name in (repeat.input, repeat.time):
        if name is not None and name not in names:
            raise PolicyError(f"{graph.file} has no input {name!r} to repeat with, only {sorted(names)}")
    floats = [names[repeat.input], _port(graph.outputs, repeat.velocity)]
    floats += [names[repeat.time]] if repeat.time else []
    for port in floats:
        if not port.is_float:
            raise PolicyError(f"{port.name!r} of {graph.file} is {port.kind}; repeating needs floats")
    _check_fit(floats[1], floats[0], f"the input {repeat.input!r} of {graph.file}", repeat.velocity)


def _check_fit(source: Port, port: Port, place: str, name: str) -> None:
    differ = any(None not in sizes and sizes[0] != sizes[1] for sizes in zip(source.shape, port.shape, strict=False))
    # A graph without shape information shows its outputs as numbers without dimensions.
    if source.dtype != port.dtype or (source.shape and (differ or len(source.shape) != len(port.shape))):
        raise PolicyError(
            f"{place} is {port.dtype} {_shown(port.shape)}, but {name!r} is {source.dtype} {_shown(source.shape)}"
        )


def _shown(shape: Sequence[int | None]) -> str:
    return str(["any" if size is None else size for size in shape])


def _once(step: Step, known: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    found = step.graph.run(list(step.outputs), {name: known[value] for name, value in step.inputs.items()})
    return dict(zip(step.outputs.values(), found, strict=True))


def _repeated(step: Step, known: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Euler's method from ``start`` to ``end``; the value in the end takes the place of the velocity."""
    import numpy

    repeat = step.repeat
    assert repeat is not None
    feeds = {name: known[value] for name, value in step.inputs.items() if name != repeat.time}
    outputs = [repeat.velocity, *(name for name in step.outputs if name != repeat.velocity)]
    found: list[numpy.ndarray] = []
    width = repeat.end - repeat.start
    for number in range(repeat.steps):
        if repeat.time is not None:
            port = _port(step.graph.inputs, repeat.time)
            time = repeat.start + width * number / repeat.steps
            feeds[repeat.time] = numpy.full([size or 1 for size in port.shape], time, dtype=port.dtype)
        found = step.graph.run(outputs, feeds)
        value = feeds[repeat.input]
        if found[0].shape != value.shape:
            raise PolicyError(
                f"{step.graph.file}: {repeat.velocity!r} has shape {list(found[0].shape)}, {repeat.input!r} has "
                f"{list(value.shape)}"
            )
        feeds[repeat.input] = value + found[0] * value.dtype.type(width / repeat.steps)
    values = dict(zip(outputs, [feeds[repeat.input], *found[1:]], strict=True))
    return {name: values[output] for output, name in step.outputs.items()}
