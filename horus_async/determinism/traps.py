"""Traps for calls that are different in each run: the table of them, setting them, and taking them away again.

A trap stands in the place of a function: in its module, in its class, and in the global names of the user's modules,
so that ``from time import time`` is caught too. Outside of a guarded callback it hands the call on, from any thread.
What holds the original otherwise (a default argument, an attribute of an object, a closure) is not caught, nor is a
module that is imported while the run goes on, if it is one of ``numpy`` or ``multiprocessing``.

``datetime`` and ``date`` cannot be given other methods, and a substitute class would not be of the same type, which
programs (and our own codec) rely on. So their methods are exchanged in the dictionary of the type itself, which is
what CPython looks them up in; where that is not possible, they are left alone.
"""

from __future__ import annotations

import gc
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from horus_async.nodes.context import current

from .origins import is_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def _always(*_: Any, **__: Any) -> bool:
    return True


def _without_arguments(*arguments: Any, **keywords: Any) -> bool:
    return not any(argument is not None for argument in (*arguments, *keywords.values()))


def _without_time(_format: Any = None, moment: Any = None) -> bool:
    return moment is None


@frozen
class Trap:
    """Functions of one module or class that nodes should not call."""

    module: str
    names: tuple[str, ...]
    instead: str
    """What to use in their place."""
    owner: str = ""
    """The class in the module, or empty."""
    called: str = ""
    """How they are named in reports; empty for ``module.name``."""
    applies: Callable[..., bool] = _always
    """Of the arguments: whether this call is one to report."""
    also_by_loop: bool = False
    """A call from inside trio or anyio counts too: they were asked for it by the node."""
    if_loaded: bool = False
    """Only where the program has imported the package already."""


_NOW = "use horus_async.now() or now_ns(): the time of the run"
_SPENT = "use horus_async.elapsed() or dt() for the time of the run; measure run time with Scheduler.stats()"
_RNG = "use horus_async.rng(), seeded for each tick"
_NP_RNG = "use horus_async.np_rng(), seeded for each tick, or a generator with a seed of its own"
_THREAD = "await anyio.to_thread.run_sync(function), for which the run waits, or make it a node with compute=True"
_OUTSIDE = "let a program outside of the deterministic run do it, record its messages, and replay them"

TRAPS = (
    Trap("time", ("time", "time_ns"), _NOW),
    Trap("time", ("clock_gettime", "clock_gettime_ns"), _NOW),
    Trap("time", ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"), _SPENT),
    Trap("time", ("process_time", "process_time_ns", "thread_time", "thread_time_ns"), _SPENT),
    Trap("time", ("sleep",), "await horus_async.sleep(seconds), which takes virtual time"),
    Trap("time", ("localtime", "gmtime", "ctime", "asctime"), _NOW, applies=_without_arguments),
    Trap("time", ("strftime",), _NOW, applies=_without_time),
    Trap("datetime", ("now", "utcnow"), _NOW, owner="datetime"),
    Trap("datetime", ("today",), _NOW, owner="date"),
    Trap(
        "random",
        (
            *("betavariate", "binomialvariate", "choice", "choices", "expovariate", "gammavariate", "gauss"),
            *("getrandbits", "lognormvariate", "normalvariate", "paretovariate", "randbytes", "randint", "random"),
            *("randrange", "sample", "seed", "shuffle", "triangular", "uniform", "vonmisesvariate", "weibullvariate"),
        ),
        _RNG,
    ),
    Trap(
        "random",
        ("__init__",),
        _RNG,
        owner="Random",
        called="random.Random() without a seed",
        applies=_without_arguments,
    ),
    Trap("random", ("_urandom",), _RNG, called="random.SystemRandom"),
    Trap("os", ("urandom", "getrandom"), _RNG),
    Trap(
        "uuid",
        ("uuid1", "uuid4", "uuid6", "uuid7"),
        "make it from rng(): uuid.UUID(int=rng().getrandbits(128), version=4)",
    ),
    Trap("secrets", ("choice", "randbelow", "randbits", "token_bytes", "token_hex", "token_urlsafe"), _RNG),
    Trap("threading", ("start",), _THREAD, owner="Thread"),
    Trap("_thread", ("start_new_thread",), _THREAD),
    Trap("socket", ("__init__",), _OUTSIDE, owner="socket", called="socket.socket", also_by_loop=True),
    Trap("subprocess", ("__init__",), _OUTSIDE, owner="Popen", called="subprocess.Popen", also_by_loop=True),
    Trap("os", ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp"), _OUTSIDE),
    Trap("multiprocessing.process", ("start",), _OUTSIDE, owner="BaseProcess", if_loaded=True),
    Trap("numpy.random", (), _NP_RNG, if_loaded=True),
    Trap(
        "numpy.random.bit_generator", ("randbits",), _NP_RNG, called="a NumPy generator without a seed", if_loaded=True
    ),
)


class _Function:
    """Stands in the place of a function of a module. Not a function, so that it never becomes a method."""

    __slots__ = ("_applies", "_call", "_trap", "original")

    def __init__(self, original: Any, call: str, trap: Trap) -> None:
        self.original = original
        self._call = call
        self._trap = trap
        self._applies = None if trap.applies is _always else trap.applies

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        context = current.get(None)
        if (
            context is not None
            and context.guard is not None
            and (self._applies is None or self._applies(*arguments, **keywords))
        ):
            context.guard.notice(context, sys._getframe(1), self._call, self._trap)  # noqa: SLF001 - the only way to ask
        return self.original(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def __repr__(self) -> str:
        return repr(self.original)


def _method(original: Any, call: str, trap: Trap) -> Any:
    """What stands in the place of a method."""

    def guarded(self: Any, *arguments: Any, **keywords: Any) -> Any:
        context = current.get(None)
        if context is not None and context.guard is not None and trap.applies(*arguments, **keywords):
            context.guard.notice(context, sys._getframe(1), call, trap)  # noqa: SLF001 - the only way to ask
        return original(self, *arguments, **keywords)

    guarded.__wrapped__ = original  # type: ignore[attr-defined]
    return guarded


def _class_method(original: Any, call: str, trap: Trap) -> Any:
    """What stands in the place of a class method of a type that is not written in Python."""

    def guarded(cls: Any, *arguments: Any, **keywords: Any) -> Any:
        context = current.get(None)
        if context is not None and context.guard is not None:
            context.guard.notice(context, sys._getframe(1), call, trap)  # noqa: SLF001 - the only way to ask
        return original.__get__(None, cls)(*arguments, **keywords)

    return classmethod(guarded)


@define
class _Traps:
    """The traps that are set in this process."""

    lock: threading.Lock = field(factory=threading.Lock)
    users: int = 0
    """How many guarded runs there are."""
    places: list[tuple[dict[str, Any] | type | ModuleType, str, Any, Any]] = field(factory=list)
    """Where something was exchanged: owner, name, original, what stands there now."""
    modules: frozenset[str] = frozenset()
    """The modules that there were."""


_set = _Traps()


def set_traps() -> None:
    """Set all traps, unless they are; each call is to be followed by one of `release_traps`."""
    with _set.lock:
        _set.users += 1
        if _set.users == 1:
            _set_all()


def release_traps() -> None:
    """Put everything back when the last guarded run has ended."""
    with _set.lock:
        _set.users -= 1
        if _set.users == 0:
            _release_all()


def _set_all() -> None:
    in_modules: dict[int, _Function] = {}
    for trap in TRAPS:
        if trap.if_loaded and trap.module.partition(".")[0] not in sys.modules:
            continue
        module = import_module(trap.module)
        for name in trap.names or _shared_numpy_functions(module):
            owner = getattr(module, trap.owner) if trap.owner else module
            original = vars(owner).get(name)
            if original is None:
                continue  # not in this version, or not on this platform
            call = trap.called or f"{'.'.join(filter(None, (trap.module, trap.owner, name)))}()"
            if trap.module == "datetime" and isinstance(owner, type):
                _exchange_in_type(owner, name, original, _class_method(original, call, trap))
            elif trap.owner:
                _exchange(owner, name, original, _method(original, call, trap))
            else:
                function = in_modules[id(original)] = _Function(original, call, trap)
                _exchange(module, name, original, function)
    _set.modules = frozenset(sys.modules)
    for namespace in _users_modules(_set.modules):
        for name, value in namespace.copy().items():
            function_here = in_modules.get(id(value))
            if function_here is not None and function_here.original is value:
                namespace[name] = function_here
                _set.places.append((namespace, name, value, function_here))


def _release_all() -> None:
    for owner, name, original, ours in reversed(_set.places):
        if isinstance(owner, dict):
            if owner.get(name) is ours:
                owner[name] = original
        elif vars(owner).get(name) is ours:
            _put(owner, name, original)
    _set.places.clear()
    # what was imported meanwhile may have taken a trap for the function
    for namespace in _users_modules(frozenset(sys.modules) - _set.modules, everyones=True):
        for name, value in namespace.copy().items():
            if type(value) is _Function:
                namespace[name] = value.original


def _exchange(owner: type | ModuleType, name: str, original: Any, ours: Any) -> None:
    setattr(owner, name, ours)
    _set.places.append((owner, name, original, ours))


def _exchange_in_type(owner: type, name: str, original: Any, ours: Any) -> None:
    try:
        _put_in_type(owner, name, ours)
    except (ImportError, AttributeError, LookupError, TypeError):
        return  # another Python than CPython
    _set.places.append((owner, name, original, ours))


def _put(owner: type | ModuleType, name: str, value: Any) -> None:
    try:
        setattr(owner, name, value)
    except TypeError:
        assert isinstance(owner, type)
        _put_in_type(owner, name, value)


def _put_in_type(owner: type, name: str, value: Any) -> None:
    """Change a type that is not written in Python."""
    import ctypes

    (namespace,) = (found for found in gc.get_referents(owner.__dict__) if isinstance(found, dict))
    modified = ctypes.pythonapi.PyType_Modified
    modified.argtypes, modified.restype = [ctypes.py_object], None
    namespace[name] = value
    modified(owner)


def _shared_numpy_functions(module: ModuleType) -> list[str]:
    """The functions of ``numpy.random`` that draw from one generator which all of a program shares."""
    shared = vars(module)["mtrand"]._rand  # noqa: SLF001 - it has no other name
    return [name for name, value in vars(module).items() if getattr(value, "__self__", None) is shared]


def _users_modules(names: frozenset[str], *, everyones: bool = False) -> Iterator[dict[str, Any]]:
    """The global names of those modules that are the user's own."""
    for name in names:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or (name != "__main__" and not isinstance(file, str)):
            continue
        if everyones or name == "__main__" or is_users(str(file)):
            yield vars(module)
