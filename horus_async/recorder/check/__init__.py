"""Is a session whole?"""

from horus_async.recorder.read.check import FileCheck, SessionCheck, Verdict, check_session

__all__ = ["FileCheck", "SessionCheck", "Verdict", "check_session"]
