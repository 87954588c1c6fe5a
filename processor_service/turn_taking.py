"""Which of this processor's materials have had their turn, since owners with fewer wait while all processors are busy.

Status decides it and tells with each heartbeat. Its last word counts: what it no longer names goes on. A material gives up its place at the next page
boundary, or at once while it only waits for the Brain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from processor_service.brain.fair_slots import TurnOver

log = structlog.get_logger()


class TurnTaking:
    """`evict` ends a material's waiting for the Brain."""

    def __init__(self, evict: Callable[[str], None]) -> None:
        self._evict = evict
        self._over: set[str] = set()

    def told(self, material_ids: Iterable[str]) -> None:
        """Takes in Status's latest word: these, and no others, are to be handed back."""
        self._over = set(material_ids)
        for material_id in self._over:
            self._evict(material_id)

    def check(self, material_id: str) -> None:
        """To be called where the work can stop without loss. Raises TurnOver when it should."""
        if material_id in self._over:
            raise TurnOver

    def begun(self, material_id: str) -> None:
        """A new attempt has its turn, whatever was said of the one before."""
        self._over.discard(material_id)
