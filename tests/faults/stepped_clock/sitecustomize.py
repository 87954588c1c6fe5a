"""Imported by Python at its start where this directory is on PYTHONPATH: the process's wall clock, changed by a file while it runs.

The file named CLOCK_STEPS holds a JSON object: seconds by module, such as {"status_service": 3600}. Only the wall clock is changed; the monotonic one, which
everything that waits is measured by, is not, just as on a machine whose clock is set.
"""

import datetime
import json
import os
import sys
import time

_module = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
_file = os.environ.get("CLOCK_STEPS", "")
_real_time, _real_datetime = time.time, datetime.datetime
_known: tuple[float, float] = (0.0, 0.0)  # when looked at (monotonic), seconds


def _step() -> float:
    global _known  # noqa: PLW0603 - the interpreter's own clock is as global as can be
    now = time.monotonic()
    if now - _known[0] > 0.05:
        try:
            with open(_file, encoding="utf-8") as file:  # noqa: PTH123
                _known = (now, float(json.load(file).get(_module, 0.0)))
        except (OSError, ValueError):
            _known = (now, _known[1])
    return _known[1]


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


class _SteppedDatetime(_real_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _real_datetime.now(tz) + datetime.timedelta(seconds=_step())

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return _real_datetime.utcnow() + datetime.timedelta(seconds=_step())


def _stepped_time() -> float:
    # gRPC makes its deadlines of this clock and hands them to native code, which sees the machine's. On a machine whose clock is set both are one.
    if sys._getframe(1).f_globals.get("__name__", "").startswith("grpc"):
        return _real_time()
    return _real_time() + _step()


if _module.endswith("_service") and _file:
    time.time = _stepped_time
    datetime.datetime = _SteppedDatetime
