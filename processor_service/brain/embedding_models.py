"""The embedding models that this processor can reach, by the names that the settings give them.

While an index of another model is being built there are two: the one that the index in use was built with, which queries and new pages need, and the next. An
index whose model is not among them cannot be searched here, nor added to: a setting is missing, and the error says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from processor_service.brain.errors import BrainMisconfigured, one_line

Client = TypeVar("Client")


class EmbeddingModelUnknown(BrainMisconfigured):
    """The index was built with a model that this processor has no address of. The message says what to set."""


class EmbeddingModels(Generic[Client]):
    """What embeds, by the model's name: oldest first, so that the last one is what new indexes are built with. At least one."""

    def __init__(self, clients: Mapping[str, Client]) -> None:
        self._clients = dict(clients)

    @property
    def names(self) -> tuple[str, ...]:
        """Every model's name."""
        return tuple(self._clients)

    @property
    def newest(self) -> str:
        """The model that an index is built with when nobody names another."""
        return self.names[-1]

    def client(self, name: str) -> Client:
        """What embeds with the model. Raises EmbeddingModelUnknown."""
        if name not in self._clients:
            raise EmbeddingModelUnknown(
                f"the index needs the embedding model {one_line(name, 100)!r}, which no setting of this processor names: set EMBEDDING_MODEL or "
                "NEXT_EMBEDDING_MODEL to it, and the address beside it to the AI Brain that has it"
            )
        return self._clients[name]
