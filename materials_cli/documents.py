"""What the command writes for scripts: JSON documents, one a line."""

from __future__ import annotations

import json

from materials_cli.errors import CommandError
from servicekit.documents import Document


def error_document(error: CommandError) -> Document:
    """A failure of one item: `reason` is the contract's ErrorReason in lower case, or null when no service gave one."""
    return {"reason": error.reason.lower() or None, "message": error.message}


def to_json(content: Document) -> str:
    """One line. Everything beyond ASCII is escaped, so nothing in it can reach a terminal as a control sequence."""
    return json.dumps(content)
