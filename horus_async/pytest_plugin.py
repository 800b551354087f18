"""The pytest fixture ``horus`` and the marker ``horus_replay``; pytest finds them once this package is installed.

The session of a good run tests every later change::

    @pytest.mark.horus_replay("sessions/warehouse", app=build)
    def test_warehouse() -> None:
        ...

The nodes of ``app`` get the recorded inputs and clock, and the test fails with the first message that differs. ``app``
is a `Scheduler`, or a function that makes one, ``build(args)`` or one without parameters; by default it is the fixture
``horus_app``. ``nodes`` names the nodes to compare, by default all that were recorded; numbers that are at most
``tolerance`` apart are equal. The session is a path relative to the test file, or the
name of one of the user's recordings, also in a test with the fixture ``horus``, which has a folder of its own. The
test's own body runs after that.

Where messages differ, and the extra ``view`` is installed, a page shows both sides: it lies beside the report of
``--junit-xml`` or ``--html``, else in pytest's cache, and the failure names it.
"""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from .nodes.node import Node
    from .scheduler.scheduler import Scheduler
    from .testing import Captured

_USERS_FOLDER = pytest.StashKey["Path"]()
_MARKER = "horus_replay(session, app=None, nodes=None, tolerance=0.0)"


@frozen
class HorusFixture:
    """What the fixture ``horus`` gives a test: its own topics and folders."""

    namespace: str
    """The test's own topic namespace; ``HORUS_NAMESPACE`` passes it on to processes that the test starts."""
    recordings_dir: Path
    """Where this test's recordings go; also set as ``HORUS_RECORDINGS_DIR``."""
    blackbox_dir: Path
    """Where its black boxes go; also set as ``HORUS_BLACKBOX_DIR``."""

    def run_nodes(self, *nodes: Node, **options: Any) -> Captured:
        """Run nodes in this test's namespace; see `horus_async.testing.run_nodes`."""
        from .testing import run_nodes

        return run_nodes(*nodes, namespace=self.namespace, **options)

    async def run_nodes_async(self, *nodes: Node, **options: Any) -> Captured:
        """The same as `run_nodes`, from a coroutine; see `horus_async.testing.run_nodes_async`."""
        from .testing import run_nodes_async

        return await run_nodes_async(*nodes, namespace=self.namespace, **options)

    def scheduler(self, **options: Any) -> Scheduler:
        """A `Scheduler` in this test's namespace, in virtual time unless ``deterministic=False`` is given."""
        from .scheduler.scheduler import Scheduler

        return Scheduler(**{"deterministic": True, "namespace": self.namespace, **options})


@pytest.fixture
def horus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[HorusFixture, None, None]:
    """A topic namespace, a recordings folder and a black box folder for one test."""
    from .testing import unique_namespace
    from .topics.keeping.ended import release

    fixture = HorusFixture(unique_namespace(), tmp_path / "recordings", tmp_path / "blackbox")
    monkeypatch.setenv("HORUS_NAMESPACE", fixture.namespace)
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(fixture.recordings_dir))
    monkeypatch.setenv("HORUS_BLACKBOX_DIR", str(fixture.blackbox_dir))
    yield fixture
    release(fixture.namespace)  # what was kept for late readers, which else stays as long as the process


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}: the nodes of app (a Scheduler or what makes one; "
        "default: the fixture horus_app) still send what was recorded in session",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note the user's folder of recordings, before a fixture sets another."""
    if item.get_closest_marker("horus_replay") is not None:
        from .recorder import recordings_root

        with suppress(Exception):  # there may be none, and the session be a path
            item.stash[_USERS_FOLDER] = recordings_root()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Replay the session of a marked test before its body."""
    __tracebackhide__ = True
    for marker in reversed(list(pyfuncitem.iter_markers("horus_replay"))):
        wrong = ""
        try:
            inspect.signature(_replay).bind(pyfuncitem, *marker.args, **marker.kwargs)
        except TypeError as error:
            wrong = str(error)
        if wrong:
            pytest.fail(f"{_MARKER}: {wrong}", pytrace=False)
        _replay(pyfuncitem, *marker.args, **marker.kwargs)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the traceback of a failing run show the test and the node, and nothing of what is between."""
    if call.excinfo is not None and not item.config.getoption("fulltrace"):
        from .nodes.user_frames import begin_with_the_users, is_about_ours

        error = call.excinfo.value
        if is_about_ours(error):
            begin_with_the_users(error)
            call.excinfo = pytest.ExceptionInfo.from_exception(error)
    return (yield)


def _app_fixture(item: pytest.Function, session: str | Path) -> Any:
    __tracebackhide__ = True
    try:
        return item._request.getfixturevalue("horus_app")  # noqa: SLF001 - the only way to a fixture from a hook
    except pytest.FixtureLookupError as error:
        if error.argname != "horus_app":
            raise
    pytest.fail(f"session {session}: which program? give app=build, or write a fixture horus_app", pytrace=False)


def _found(item: pytest.Function, session: str | Path) -> str | Path:
    """The path of a session beside the test or in the user's folder; else as it is named."""
    from .errors import HorusError
    from .recorder import open_session

    beside = item.path.parent / session
    if beside.exists():
        return beside
    users = item.stash.get(_USERS_FOLDER, None)
    if users is not None:
        try:
            open_session(session)
        except HorusError:
            there = users / session
            return there if there.exists() else session
    return session


def _replay(
    item: pytest.Function, session: str | Path, app: Any = None, nodes: Any = None, tolerance: float = 0.0
) -> None:
    __tracebackhide__ = True
    import functools
    import traceback

    import trio

    from .errors import HorusError, NodeFailure
    from .nodes.user_frames import begin_with_the_users
    from .scheduler.scheduler import Scheduler

    if app is None:
        app = _app_fixture(item, session)
    verify = functools.partial(Scheduler.verify, _found(item, session), app, nodes)
    failure = ""
    try:
        report = trio.run(functools.partial(verify, tolerance=tolerance))
    except NodeFailure as error:
        begin_with_the_users(error)
        shown = "".join(line for one in error.exceptions for line in traceback.format_exception(one))
        failure = f"{error.message}\n{shown}".rstrip()
    except HorusError as error:
        failure = str(error)
    else:
        lacking = f" (the program lacks {', '.join(report.missing_nodes)})" if report.missing_nodes else ""
        if not report.compared:
            failure = f"nothing was compared: no live node has the name of a recorded one that sent anything{lacking}"
        elif report.differences:
            first = report.first_difference
            failure = f"{report.differences} of {report.compared} messages differ{lacking}; first: {first}"
            failure += _page(item, _found(item, session), app, nodes, tolerance)
    if failure:
        pytest.fail(f"session {session}: {failure}", pytrace=False)


def _page(item: pytest.Function, session: str | Path, app: Any, nodes: Any, tolerance: float) -> str:
    """Write the page of a verification that found differences; gives a line that names it, or nothing."""
    from .replay.program import made_by
    from .scheduler.scheduler import Scheduler
    from .view.html import has_plots

    if not has_plots():
        return ""
    try:
        from .recorder import open_session
        from .view.making import PageMaker

        live = app if isinstance(app, Scheduler) else made_by(app)
        maker = PageMaker()
        chosen = (nodes,) if isinstance(nodes, str) else None if nodes is None else tuple(nodes)
        maker.verification(str(session), open_session(session), live.nodes, item.name, only=chosen, tolerance=tolerance)
        path = _page_folder(item.config) / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', item.nodeid)[-120:]}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(maker.html(f"pytest {item.nodeid}"), encoding="utf-8")
    except Exception as error:  # noqa: BLE001 - it is the difference that matters, and the program ran once more
        return f"\nno page of it could be made: {type(error).__name__}: {error}"
    return f"\nboth sides, on a page: {path}"


def _page_folder(config: pytest.Config) -> Path:
    """Where the test's report goes, else pytest's cache, else the folder of temporary files."""
    import tempfile
    from pathlib import Path

    for option in ("xmlpath", "htmlpath"):
        report = config.getoption(option, default=None)
        if report:
            return Path(str(report)).absolute().parent
    cache = getattr(config, "cache", None)  # its plugin may be switched off
    if cache is not None:
        return Path(cache.mkdir("horus"))
    return Path(tempfile.gettempdir())
