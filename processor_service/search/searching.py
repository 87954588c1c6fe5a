"""Search within a course: by meaning and by words together, among what the caller may see."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from materials.v1 import errors_pb2
from materials.v1 import processor_service_pb2 as pb

from processor_service.brain.client import BrainClient
from processor_service.brain.embedding_models import EmbeddingModels, EmbeddingModelUnknown
from processor_service.brain.errors import BrainError
from processor_service.index.generation_store import GenerationStore
from processor_service.index.search_words import query_words
from processor_service.search.fusion import Place, Ranking, fuse
from processor_service.search.near_repeats import fold_repeats
from processor_service.search.search_store import Candidate, Candidates, Hit, ModelChanged, Scope, SearchStore
from servicekit import validation
from servicekit.channels import Peer
from servicekit.errors import FieldInvalid, ServiceError, Unavailable
from servicekit.identity import Caller
from servicekit.opaque_tokens import OpaqueTokens
from servicekit.visibility import visible_materials

log = structlog.get_logger()

MAX_QUERY_CHARS = 500
MAX_LIMIT = 10
#: Results that can be paged through.
MAX_RESULTS = 100
#: Candidates of each kind; the second is for courses where most of the first are hidden or say the same. Always the same, so that pages fit together.
DEPTHS = (150, 1_000)
#: Words against meaning: so much that a passage with every word of the query comes before one that is only near to it (measured: docs/decisions).
WORDS_WEIGHT = 2.0
COVERAGE_POWER = 1.5
#: A place by meaning counts by how near it is beside the nearest. Without this the last of three passages would lie as close behind the first as a
#: hundredth would behind a ninety-eighth, however far off it is, and a single common word would put it first.
NEARNESS_POWER = 0.5
#: What has nothing in common with the query is still a result where there is no better one.
LEAST_NEARNESS = 0.05


@dataclass(frozen=True, slots=True)
class Ranked:
    """A result: `score` from 0 (exclusive) to 1 falls along the results, `similarity` is the cosine; `repeats` say nearly the same and were left out for it."""

    hit: Hit
    score: float
    similarity: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Found(Ranked):
    """A result that its caller may see."""

    material_name: str


class Searching:
    """Embeds the query with the model of the index in use, ranks the course's passages by meaning and by words, and lets the record say what may be seen."""

    def __init__(
        self,
        store: SearchStore,
        generations: GenerationStore,
        models: EmbeddingModels[BrainClient],
        status: Peer,
        tokens: OpaqueTokens,
        *,
        default_limit: int,
    ) -> None:
        self._store, self._generations, self._models, self._status = store, generations, models, status
        self._tokens, self._default_limit = tokens, default_limit

    async def search(self, caller: Caller, request: pb.SearchMaterialsRequest) -> pb.SearchMaterialsResponse:
        """One page of results. Raises FieldInvalid, ServiceError PAGE_TOKEN_INVALID, Unavailable."""
        course_id = validation.course_id(request.course_id)
        query = checked_query("query", request.query)
        if not 0 <= request.limit <= MAX_LIMIT:
            raise FieldInvalid("limit", f"must be from 1 to {MAX_LIMIT}, or 0 for {self._default_limit}")
        limit = request.limit or self._default_limit
        asked = {
            "search": course_id,
            "query": hashlib.sha256(query.encode()).hexdigest(),
            "limit": limit,
            "caller": caller.subject,
        }
        offset = self._offset(request.page_token, asked)
        wanted = min(limit, MAX_RESULTS - offset)
        found = await self.find(caller, course_id, query, limit=wanted + 1, offset=offset)
        shown, after = found[:wanted], offset + wanted
        more = len(found) > wanted and after < MAX_RESULTS
        return pb.SearchMaterialsResponse(
            results=map(to_result, shown),
            next_page_token=self._tokens.seal(asked | {"offset": after}) if more else "",
        )

    async def find(self, caller: Caller, course_id: str, query: str, *, limit: int, offset: int = 0) -> list[Found]:
        """The results from `offset` on, best first, only of materials that the record lets the caller see now. Raises Unavailable and what `visible_materials`
        raises. The query is one that `checked_query` returned."""
        scope = Scope(course_id, None if caller.may_read_course(course_id) else caller.subject)
        words = query_words(query)
        try:
            return await self._find(caller, scope, query, words, limit, offset)
        except ModelChanged:
            pass
        try:
            # The index was built anew with another model while the query was being embedded.
            return await self._find(caller, scope, query, words, limit, offset)
        except ModelChanged as error:
            raise Unavailable(
                errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE, "the index is just being replaced; try again"
            ) from error

    async def _find(
        self, caller: Caller, scope: Scope, query: str, words: Sequence[str], limit: int, offset: int
    ) -> list[Found]:
        model = (await self._generations.serving()).embedding_model
        try:
            embedding = await self._models.client(model).embed(query)
        except EmbeddingModelUnknown as error:
            log.warning("the index in use cannot be searched here", error=error.message)
            raise Unavailable(
                errors_pb2.ERROR_REASON_BRAIN_UNAVAILABLE,
                "the index is being moved to another AI Brain; try again later",
                retry_after=30.0,
            ) from error
        except BrainError as error:
            raise Unavailable(
                errors_pb2.ERROR_REASON_BRAIN_UNAVAILABLE,
                "the AI Brain cannot read the query at the moment; try again shortly",
                retry_after=error.retry_after or 2.0,
            ) from error
        for depth in DEPTHS:
            candidates = await self._store.candidates(embedding, model, words, scope, depth)
            deepest = depth == DEPTHS[-1] or max(len(candidates.nearest), len(candidates.worded)) < depth
            # Whether there are enough is asked only where a deeper search may find more.
            at_most = min(offset + limit, MAX_RESULTS) if deepest else MAX_RESULTS
            results, names = await self._seen_by(caller, candidates, offset + limit, at_most)
            if deepest or len(results) >= MAX_RESULTS:
                break
        return [
            Found(each.hit, each.score, each.similarity, each.repeats, names[str(each.hit.material_id)])
            for each in results[offset : offset + limit]
        ]

    async def _seen_by(
        self, caller: Caller, candidates: Candidates, count: int, at_most: int
    ) -> tuple[list[Ranked], dict[str, str]]:
        """The first `at_most` results, and the names of the materials of the first `count`, which the caller may see now.

        Candidates are in the caller's scope. What is hidden all the same was deleted a moment ago, and its passages go with it: so only what comes first is
        asked about, and everything when some of that is hidden."""
        # Beside the loop: long lists of long passages take a third of a second.
        results = await asyncio.to_thread(ranked, candidates, at_most=at_most)
        first = {str(each.hit.material_id) for each in results[:count]}
        visible = await visible_materials(self._status, caller, first)
        if not first <= visible.keys():
            everything = {str(each.hit.material_id) for each in (*candidates.nearest, *candidates.worded)}
            visible = await visible_materials(self._status, caller, everything)
            results = await asyncio.to_thread(ranked, candidates, everything - visible.keys(), at_most=at_most)
        return results, {material_id: material.name for material_id, material in visible.items()}

    def _offset(self, token: str, asked: dict[str, Any]) -> int:
        if not token:
            return 0
        content = self._tokens.open(token)
        if content is None or any(content.get(key) != value for key, value in asked.items()):
            raise ServiceError(
                errors_pb2.ERROR_REASON_PAGE_TOKEN_INVALID,
                "this page token belongs to another caller or query; start again without one",
            )
        return int(content["offset"])


def checked_query(field: str, text: str) -> str:
    """The query or question as it is looked for. Raises FieldInvalid."""
    query = text.replace("\0", " ").strip()
    if not 1 <= len(query) <= MAX_QUERY_CHARS:
        raise FieldInvalid(field, f"must have 1-{MAX_QUERY_CHARS} characters, has {len(query)}")
    return query


def ranked(candidates: Candidates, hidden: Set[str] = frozenset(), *, at_most: int = MAX_RESULTS) -> list[Ranked]:
    """The candidates as one list, but for those of `hidden` materials: best first, repeats folded; the first `at_most`, the same ones of any number. Pure."""
    nearest, worded = (_without(hidden, each) for each in (candidates.nearest, candidates.worded))
    by_place = {_place(each.hit): each for each in (*nearest, *worded)}
    most = max((each.similarity for each in nearest), default=0.0)
    by_meaning = Ranking([Place(_place(each.hit), _nearness(each.similarity, most)) for each in nearest])
    by_words = Ranking([Place(_place(each.hit), each.coverage**COVERAGE_POWER) for each in worded], WORDS_WEIGHT)
    fused: list[tuple[Candidate, float]] = [(by_place[place], score) for place, score in fuse([by_meaning, by_words])]
    folded = fold_repeats([each.hit.text for each, _ in fused], at_most=at_most)
    return [Ranked(fused[at][0].hit, fused[at][1], fused[at][0].similarity, repeats) for at, repeats in folded]


def _without(hidden: Set[str], candidates: list[Candidate]) -> list[Candidate]:
    # Nearly always nothing is hidden, and an id as text takes as long to make as its candidate to rank.
    return [each for each in candidates if str(each.hit.material_id) not in hidden] if hidden else candidates


def _nearness(similarity: float, most: float) -> float:
    """Above 0, at most 1, which the nearest of all has."""
    return max(LEAST_NEARNESS, similarity / most) ** NEARNESS_POWER if most > 0 else 1.0


def to_result(found: Found) -> pb.SearchResult:
    """As the contract has it."""
    hit = found.hit
    return pb.SearchResult(
        material_id=str(hit.material_id),
        material_name=found.material_name,
        page_number=hit.page_number,
        excerpt=hit.text,
        score=found.score,
        start_offset=hit.start_offset,
        end_offset=hit.end_offset,
        heading=hit.heading,
        similarity=found.similarity,
        repeats=found.repeats,
    )


def _place(hit: Hit) -> tuple[UUID, int, int]:
    return hit.material_id, hit.page_number, hit.ordinal
