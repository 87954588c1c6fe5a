"""Search by meaning within a course."""

from __future__ import annotations

from materials.v1 import errors_pb2
from materials.v1 import processor_service_pb2 as pb

from processor_service.brain import BrainClient
from processor_service.brain_errors import BrainError
from processor_service.index_store import Hit, IndexStore
from servicekit import validation
from servicekit.channels import Peer
from servicekit.errors import FieldInvalid, Unavailable
from servicekit.identity import Caller
from servicekit.visibility import visible_materials

MAX_QUERY_CHARS = 500
MAX_LIMIT = 10
#: Looked up beyond the limit, for those whose material was deleted a moment ago; more, up to MAX_HITS, when these are not enough.
SPARE_HITS = 20
MAX_HITS = 1_000


class Searching:
    """Embeds the query, compares it with every passage of the course, and lets the record say what the caller may see."""

    def __init__(self, index: IndexStore, brain: BrainClient, status: Peer, *, default_limit: int) -> None:
        self._index, self._brain, self._status, self._default_limit = index, brain, status, default_limit

    async def search(self, caller: Caller, request: pb.SearchMaterialsRequest) -> list[pb.SearchResult]:
        """The nearest passages, best first. Raises FieldInvalid, Unavailable."""
        course_id = validation.course_id(request.course_id)
        query = request.query.replace("\0", " ").strip()
        if not 1 <= len(query) <= MAX_QUERY_CHARS:
            raise FieldInvalid("query", f"must have 1-{MAX_QUERY_CHARS} characters, has {len(query)}")
        if not 0 <= request.limit <= MAX_LIMIT:
            raise FieldInvalid("limit", f"must be from 1 to {MAX_LIMIT}, or 0 for {self._default_limit}")
        limit = request.limit or self._default_limit
        try:
            embedding = await self._brain.embed(query)
        except BrainError as error:
            raise Unavailable(
                errors_pb2.ERROR_REASON_BRAIN_UNAVAILABLE,
                "the AI Brain cannot read the query at the moment; try again shortly",
                retry_after=error.retry_after or 2.0,
            ) from error
        owner_id = None if caller.may_read_course(course_id) else caller.subject
        count = limit + SPARE_HITS
        while True:
            hits = await self._index.nearest(embedding, course_id, owner_id, count)
            visible = await visible_materials(self._status, caller, {str(hit.material_id) for hit in hits})
            seen = [hit for hit in hits if str(hit.material_id) in visible]
            if len(seen) >= limit or len(hits) < count or count == MAX_HITS:
                return [_to_result(hit, visible[str(hit.material_id)].name) for hit in seen[:limit]]
            count = min(MAX_HITS, count * 8)


def _to_result(hit: Hit, material_name: str) -> pb.SearchResult:
    return pb.SearchResult(
        material_id=str(hit.material_id),
        material_name=material_name,
        page_number=hit.page_number,
        excerpt=hit.text,
        score=hit.score,
        start_offset=hit.start_offset,
        end_offset=hit.end_offset,
        heading=hit.heading,
    )
