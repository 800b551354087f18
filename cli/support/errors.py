"""Turns exceptions into exit codes and one clear line, never a traceback.

0: fine; 1: a difference or an anomaly was found, or a check or a node failed; 2: wrong usage or unreadable input;
130: Ctrl-C.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from horus_async.cli.support.tracebacks import show_traceback
from horus_async.errors import AppError, EmergencyStop, HorusError, NodeFailure
from horus_async.scheduler.signals import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUND = 1
USAGE = 2
INTERRUPTED = 130


def fail(message: str, code: int) -> None:
    """Print one line on standard error and exit."""
    click.echo(f"horus-async: {' '.join(message.split())}", err=True)
    sys.exit(code)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a command raises into an exit code and one line."""
    try:
        yield
    except Interrupted as error:
        sys.exit(error.code)  # also a KeyboardInterrupt, which click would turn into "Aborted!" and a 1
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except NodeFailure as error:
        _node_failed(error)
    except EmergencyStop as error:
        fail(f"emergency stop: {error}", FOUND)
    except AppError as error:
        _app_failed(error)
    except HorusError as error:
        fail(str(error), USAGE)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing more to say
        sys.exit(FOUND)
    except OSError as error:
        fail(str(error), USAGE)


def _node_failed(error: NodeFailure) -> None:
    for failed in error.exceptions:
        show_traceback(failed)
    cause = error.exceptions[0]
    fail(f"{error.message}: {type(cause).__name__}: {cause}", FOUND)


def _app_failed(error: AppError) -> None:
    if error.failed and error.__cause__ is not None:
        show_traceback(error.__cause__)
    fail(str(error), FOUND if error.failed else USAGE)
