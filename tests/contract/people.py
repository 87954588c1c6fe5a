"""Everybody who may or may not see a material, and the calls they make about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from materials.v1 import status_service_pb2 as pb

from tests.contract.person import Person


@dataclass
class People:
    """Everybody who may or may not see the course."""

    owner: Person  # uploaded; the token names no course
    editor: Person
    reader: Person
    admin: Person  # editor of "*"
    stranger: Person


READS: dict[str, Callable[[Person, str], Awaitable[Any]]] = {
    "GetMaterial": Person.get,
    "ListMaterialTransitions": Person.history,
}
WRITES: dict[str, Callable[[Person, str], Awaitable[Any]]] = {
    "RetryMaterial": Person.retry,
    "CancelMaterial": Person.cancel,
    "DeleteMaterial": Person.delete,
}


async def first_of_watch(person: Person, material_id: str) -> pb.WatchMaterialResponse:
    async with person.watch(material_id) as watch:
        return await watch.next()
