"""Everything that keeps a stack from running, each with a message that says what to do.

SingleNodeError
├── BadOption        an option of the command line makes no sense
├── AlreadyRunning   another single_node holds the data directory
├── DataUnusable     the data directory cannot be used as it is
└── StartFailed      a part of the stack did not become ready
"""

from __future__ import annotations


class SingleNodeError(Exception):
    """The message is written for the person at the terminal."""


class BadOption(SingleNodeError):
    """An option makes no sense."""


class AlreadyRunning(SingleNodeError):
    """One data directory serves one stack at a time."""


class DataUnusable(SingleNodeError):
    """The data directory cannot be used as it is."""


class StartFailed(SingleNodeError):
    """A part of the stack did not become ready."""
