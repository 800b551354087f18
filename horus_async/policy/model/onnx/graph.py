"""One ONNX graph in onnxruntime: its inputs and outputs with their dtypes and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.errors import PolicyError
from horus_async.hints.installed import install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy

_PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool", "string": "object"}
_DTYPES |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_FATAL = 4  # onnxruntime's level of the log; its errors are raised as well
_LONGEST_REASON = 400


@frozen
class Port:
    """An input or an output of a graph. ``shape`` has None where the graph leaves a dimension open.

    ``kind`` is ONNX's word for its type, ``dtype`` NumPy's: ``object`` for text, empty if NumPy has none.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def is_float(self) -> bool:
        """Whether its values are floats that NumPy has."""
        return self.dtype.startswith("float")

    def check_dtype(self, place: str) -> None:
        """Refuse a type that cannot travel; ``place`` names the port in the error.

        Raises:
            PolicyError: bfloat16, float8, a sequence and other types that NumPy does not have.
        """
        if not self.dtype:
            raise PolicyError(
                f"{place} is {self.kind}, which NumPy does not have: export the model with float32 or "
                "float16 there (a Cast in the graph is enough)"
            )


@frozen
class Graph:
    """A graph that is ready to run; safe to use from several threads."""

    file: str
    session: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, names: Sequence[str], feeds: Mapping[str, numpy.ndarray]) -> list[numpy.ndarray]:
        """The outputs ``names`` for these inputs.

        Raises:
            PolicyError: onnxruntime failed.
        """
        try:
            found: list[numpy.ndarray] = self.session.run(list(names), dict(feeds))
        # onnxruntime raises classes of its own, which have no base class in common.
        except Exception as error:
            raise PolicyError(f"onnxruntime failed in {self.file}: {_reason(error)}") from error
        return found


def open_graph(folder: Path, file: str, providers: Sequence[str]) -> Graph:
    """Load a graph.

    Args:
        folder: The export.
        file: Its name there.
        providers: onnxruntime's execution providers; none: CUDA where there is one, else the CPU.

    Raises:
        PolicyError: onnxruntime is not installed, cannot load the graph, or does not have a named provider.
    """
    onnxruntime = _onnxruntime()
    available = onnxruntime.get_available_providers()
    if lacking := [name for name in providers if name not in available]:
        raise PolicyError(f"this onnxruntime has no {', '.join(lacking)}; it has {', '.join(available)}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    wanted = list(providers) or [name for name in _PREFERRED if name in available]
    try:
        session = onnxruntime.InferenceSession(str(folder / file), options, providers=wanted)
    except Exception as error:
        raise PolicyError(f"onnxruntime cannot load {folder / file}: {_reason(error)}") from error
    if unused := [name for name in providers if name not in session.get_providers()]:
        raise PolicyError(f"onnxruntime could not start {', '.join(unused)} for {file}")
    return Graph(file, session, _ports(session.get_inputs()), _ports(session.get_outputs()))


def runtime_version() -> str:
    """The version of onnxruntime."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise PolicyError(f"running ONNX needs onnxruntime: {install('serve')}") from error
    return onnxruntime


def _ports(nodes: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(_port(node) for node in nodes)


def _port(node: Any) -> Port:
    kind = str(node.type)
    inner = kind.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, inner, _DTYPES.get(inner, "") if kind.startswith("tensor(") else "", shape)


def _reason(error: Exception) -> str:
    """What onnxruntime says, on one line: of a long text, both ends, as C++ names stand between them."""
    text = " ".join(str(error).split()) or type(error).__name__
    half = _LONGEST_REASON // 2
    return text if len(text) <= _LONGEST_REASON else f"{text[:half]} ... {text[-half:]}"
