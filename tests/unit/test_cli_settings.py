"""Promises of where the command line looks for services and identity."""

import json
from pathlib import Path

import pytest

from materials_cli.connection import find_settings
from materials_cli.errors import Unreachable, WrongUsage

STACK = {
    "ingest": "127.0.0.1:1",
    "status": "127.0.0.1:2",
    "processor": "127.0.0.1:3",
    "token": "of-the-stack",
    "pids": {},
}


def write_stack(folder: Path, content: object = STACK) -> Path:
    path = folder / ".local" / "run" / "stack.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    return path


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    settings = find_settings({"MATERIALS_STATUS": "status.example:443", "MATERIALS_TOKEN": " abc\n"}, tmp_path)
    assert settings.service("status").address == "status.example:443"
    assert settings.required_token() == "abc"


def test_the_stack_of_the_nearest_parent_is_found(tmp_path: Path) -> None:
    write_stack(tmp_path, {"status": "127.0.0.1:9", "token": "far"})
    near = tmp_path / "project"
    path = write_stack(near)
    below = near / "notes" / "week1"
    below.mkdir(parents=True)
    settings = find_settings({}, below)
    assert settings.service("processor").address == "127.0.0.1:3"
    assert settings.service("processor").origin == str(path)
    assert settings.required_token() == "of-the-stack"


def test_each_variable_of_the_environment_goes_before_the_stack(tmp_path: Path) -> None:
    write_stack(tmp_path)
    settings = find_settings({"MATERIALS_INGEST": "10.0.0.1:50051,10.0.0.2:50051"}, tmp_path)
    assert settings.service("ingest").address == "10.0.0.1:50051,10.0.0.2:50051"
    assert settings.service("status").address == "127.0.0.1:2"
    assert settings.required_token() == "of-the-stack"


def test_a_named_stack_file_is_the_only_one_looked_at(tmp_path: Path) -> None:
    write_stack(tmp_path)
    named = tmp_path / "other.json"
    named.write_text(json.dumps({"status": "127.0.0.1:77", "token": "other"}))
    settings = find_settings({"MATERIALS_STACK": str(named)}, tmp_path)
    assert settings.service("status").address == "127.0.0.1:77"
    with pytest.raises(Unreachable, match=r"ingest.*make run.*MATERIALS_INGEST"):
        settings.service("ingest")
    named.unlink()
    with pytest.raises(Unreachable, match=r"other\.json.*MATERIALS_STACK.*make run"):
        find_settings({"MATERIALS_STACK": str(named)}, tmp_path).service("status")


def test_nothing_found_says_both_ways_out(tmp_path: Path) -> None:
    settings = find_settings({}, tmp_path)
    with pytest.raises(Unreachable, match=r"make run.*MATERIALS_STATUS"):
        settings.service("status")
    with pytest.raises(Unreachable, match=r"make run.*MATERIALS_TOKEN"):
        settings.required_token()


@pytest.mark.parametrize(
    "address",
    ["http://localhost:1", "localhost", "localhost:", "localhost:0", "localhost:65536", "a b:1", "a:1,", "::1:5"],
)
def test_an_address_that_is_not_host_and_port_is_refused_before_any_call(tmp_path: Path, address: str) -> None:
    with pytest.raises(WrongUsage, match="MATERIALS_INGEST must be host:port"):
        find_settings({"MATERIALS_INGEST": address}, tmp_path)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
        ("https://materials.example.org/", "https://materials.example.org"),
        ("https://materials.example.org:8443", "https://materials.example.org:8443"),
    ],
)
def test_the_gateway_is_named_by_url_or_host_and_port(tmp_path: Path, address: str, url: str) -> None:
    assert find_settings({"MATERIALS_GATEWAY": address}, tmp_path).service("gateway").address == url


@pytest.mark.parametrize(
    "address",
    [
        "ftp://a:1",
        "http://",
        "http://a:0",
        "http://a:65536",
        "a",
        "a b:1",
        "http://u:p@a",
        "http://a/x",
        "http://a?x",
        "-a:x",
    ],
)
def test_a_gateway_address_that_makes_no_sense_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(WrongUsage, match="MATERIALS_GATEWAY must be a URL"):
        find_settings({"MATERIALS_GATEWAY": address}, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"'])
def test_a_broken_stack_file_is_named(tmp_path: Path, content: str) -> None:
    path = write_stack(tmp_path)
    path.write_text(content)
    with pytest.raises(WrongUsage, match=r"stack\.json"):
        find_settings({}, tmp_path)


def test_a_token_that_could_not_be_sent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="MATERIALS_TOKEN"):
        find_settings({"MATERIALS_TOKEN": "two words"}, tmp_path)
