"""After all that was tried in this directory (these tests are collected last): the same processes, and in no refusal and no log line anything of the inside."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.contract.refusals import refused
from tests.security.attacked import Attacked, World, pids
from tests.security.overheard import UUID, WORKINGS, leaks

#: Whatever a terminal or a reader of lines would take for more than text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: How a line of a service's log begins.
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \[")
UNFORESEEN = re.compile(
    r"call failed|request failed|never retrieved|was destroyed but|Exception in callback", re.IGNORECASE
)


def test_every_process_is_the_one_that_was_started(attacked: Attacked) -> None:
    assert pids(attacked.stack) == attacked.pids_at_first
    assert attacked.stack.process.poll() is None


def test_no_refusal_tells_of_the_inside(attacked: Attacked, world: World, http: httpx.Client) -> None:
    with refused("NOT_FOUND", "MATERIAL_NOT_FOUND"):
        world.stranger.get(world.material.id)
    assert http.get(f"/materials/{world.material.id}").status_code == 401
    told = attacked.overheard.told
    assert any("MATERIAL_NOT_FOUND" in answer for answer in told), "refusals are heard"
    assert any("TOKEN_MISSING" in answer for answer in told), "over HTTP too"
    for leak in (leak for answer in told for leak in leaks(attacked.stack, answer)):
        pytest.fail(leak)
    assert not [answer for answer in told if WORKINGS.search(answer)]
    assert not [answer for answer in told if UUID.search(answer)], "an id in a refusal is somebody's"


@pytest.mark.parametrize("part", ["ingest", "status", "processor", "gateway"])
def test_no_log_line_holds_a_secret_or_what_somebody_made_of_it(attacked: Attacked, world: World, part: str) -> None:
    log = (attacked.stack.data_dir / "logs" / f"{part}.log").read_text(errors="surrogateescape")
    for leak in leaks(attacked.stack, log):
        pytest.fail(leak)
    assert not UNFORESEEN.findall(log)
    assert not CONTROL.findall(log)
    assert not [line for line in log.splitlines() if not LINE.match(line)], "one line an event, whatever somebody sent"
