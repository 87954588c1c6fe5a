"""Everything that ends a command without success, each with its exit code and a line that says what to do.

    CommandError        1  the operation failed: refused by a service, a local file could not be read
    ├── MaterialFailed  1  a watched material is FAILED
    ├── WrongUsage      2  the command line or a setting makes no sense
    ├── Unreachable     3  a service, or something it needs, cannot be reached
    └── NotFound        4  there is no such material

What a service answered is turned into one of these by `materials_cli.refusals`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class ExitCode(enum.IntEnum):
    """What scripts see."""

    OK = 0
    FAILED = 1
    WRONG_USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130
    TERMINATED = 143


class CommandError(Exception):
    """The operation failed. `reason` is the contract's ErrorReason without prefix, or ""."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class MaterialFailed(CommandError):
    """A material that was watched to its end is FAILED."""


class WrongUsage(CommandError):
    """The command line or a setting makes no sense."""

    exit_code = ExitCode.WRONG_USAGE


class Unreachable(CommandError):
    """A service, or something it needs, cannot be reached."""

    exit_code = ExitCode.UNREACHABLE


class NotFound(CommandError):
    """There is no such material, or the caller may not see it."""

    exit_code = ExitCode.NOT_FOUND


def exit_code_of(errors: Iterable[CommandError]) -> ExitCode:
    """Of a command over several items: 0 without errors, their code when they agree, else 1."""
    codes = {error.exit_code for error in errors}
    if not codes:
        return ExitCode.OK
    return codes.pop() if len(codes) == 1 else ExitCode.FAILED
