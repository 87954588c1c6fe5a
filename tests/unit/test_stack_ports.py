"""Which port each part gets."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from single_node.errors import BadOption, StartFailed
from single_node.ports import HOST, assign_ports, candidate_ports, load_ports, save_ports, why_unusable

NAMES = ("postgres", "nats", "status")


def assigned(
    asked: Mapping[str, int] | None = None,
    remembered: Mapping[str, int] | None = None,
    preferred: Mapping[str, int] | None = None,
    candidates: Iterator[int] | None = None,
    used: frozenset[int] = frozenset(),
) -> dict[str, int]:
    return assign_ports(
        NAMES,
        asked=asked or {},
        remembered=remembered or {},
        preferred=preferred or {},
        candidates=iter(range(100, 120)) if candidates is None else candidates,
        why_unusable=lambda port: "the port is in use" if port in used else None,
    )


def test_asked_comes_before_remembered_and_remembered_before_free() -> None:
    assert assigned(asked={"nats": 7}, remembered={"nats": 8, "status": 9}) == {"postgres": 100, "nats": 7, "status": 9}


def test_a_remembered_port_that_is_taken_now_is_replaced() -> None:
    assert assigned(remembered={"status": 9}, used=frozenset({9, 100}))["status"] not in {9, 100}


def test_a_remembered_port_gives_way_to_the_part_it_is_asked_for() -> None:
    ports = assigned(asked={"postgres": 9}, remembered={"status": 9})
    assert ports["postgres"] == 9
    assert ports["status"] != 9


@pytest.mark.parametrize(
    ("asked", "remembered", "used", "port"),
    [
        ({}, {}, frozenset(), 8080),
        ({"status": 7}, {}, frozenset(), 7),
        ({}, {"status": 9}, frozenset(), 9),
        ({}, {"status": 9}, frozenset({9}), 102),
        ({}, {}, frozenset({8080}), 102),
        ({"nats": 8080}, {}, frozenset(), 101),
        ({}, {"nats": 8080}, frozenset(), 101),
    ],
    ids=["free", "asked", "remembered", "remembered but taken", "taken", "asked for another", "remembered for another"],
)
def test_a_preferred_port_is_had_when_it_is_free_and_nothing_else_is_asked_for_or_remembered(
    asked: dict[str, int], remembered: dict[str, int], used: frozenset[int], port: int
) -> None:
    assert assigned(asked, remembered, preferred={"status": 8080}, used=used)["status"] == port


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gateway": 1}, "the parts are postgres, nats, status"),
        ({"nats": 5, "status": 5}, "two parts cannot share a port"),
        ({"nats": 6}, "the port is in use; choose another"),
    ],
)
def test_an_asked_port_that_cannot_be_had_is_refused_with_the_reason(asked: dict[str, int], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        assigned(asked=asked, used=frozenset({6}))


def test_running_out_of_candidates_says_how_to_choose() -> None:
    with pytest.raises(StartFailed, match="--port"):
        assigned(candidates=iter([100]))


@given(
    asked=st.dictionaries(st.sampled_from(NAMES), st.integers(50, 60), max_size=2),
    remembered=st.dictionaries(st.sampled_from(NAMES), st.integers(50, 110)),
    preferred=st.dictionaries(st.sampled_from(NAMES), st.integers(50, 110)),
    used=st.frozensets(st.integers(61, 110)),
)
def test_no_two_parts_share_a_port_and_none_is_in_use(
    asked: dict[str, int], remembered: dict[str, int], preferred: dict[str, int], used: frozenset[int]
) -> None:
    if len(set(asked.values())) < len(asked):
        return
    ports = assigned(asked, remembered, preferred, iter(range(100, 200)), used)
    assert set(ports) == set(NAMES)
    assert len(set(ports.values())) == len(NAMES)
    assert not set(ports.values()) & used


def test_a_listener_makes_a_port_unusable_until_it_is_closed() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        assert why_unusable(port) == "the port is in use"
    assert why_unusable(port) is None


def test_candidates_end() -> None:
    assert 0 < len(list(candidate_ports(random.Random(1)))) <= 400


def test_ports_are_remembered_and_a_damaged_memory_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    assert load_ports(path) == {}
    save_ports(path, {"status": 9})
    assert load_ports(path) == {"status": 9}
    path.write_text('{"status": "nine", "nats": 4}')
    assert load_ports(path) == {"nats": 4}
    path.write_text("[")
    assert load_ports(path) == {}
