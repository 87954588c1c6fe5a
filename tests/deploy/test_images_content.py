"""What is in each image, and what is not."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy.images.sources import REQUIREMENTS, SERVICES
from tests.deploy.built_images import BuiltImage
from tests.deploy.test_images_requirements import pinned

PORTS = {"ingest": 50051, "status": 50052, "processor": 50053, "gateway": 8080}
METRICS_PORT = 9464
# /app and /opt/venv together, in MiB: what was measured, and a fifth. The base comes on top.
MOST_MIB = {"ingest": 101, "status": 106, "processor": 247, "gateway": 91}
COMPILERS = {"cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "cargo", "rustc", "protoc"}
BUILD_TOOLS = {"pip", "setuptools", "wheel", "uv", "hatchling", "grpcio-tools", "mypy-protobuf"}
LEFT_BEHIND = ("build", "wheels", "root/.cache", "root/.bash_history", "root/.python_history", "root/.config/pip", "root/.pip")  # fmt: skip


def own_files(image: BuiltImage) -> Iterator[Path]:
    """All but the base's."""
    for part in ("app", "opt/venv"):
        yield from (path for path in (image.root / part).rglob("*") if not path.is_symlink())


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each in turn."""
    return str(request.param)


@pytest.fixture
def image(images: Mapping[str, BuiltImage], service: str) -> BuiltImage:
    """That of the service."""
    return images[service]


def test_configuration(image: BuiltImage, service: str) -> None:
    configuration = image.configuration
    assert configuration["User"] == "10001:10001"
    assert configuration["Entrypoint"] == ["python", "-m", SERVICES[service]]
    assert not configuration.get("Cmd")
    assert set(configuration["ExposedPorts"]) == {f"{PORTS[service]}/tcp", f"{METRICS_PORT}/tcp"}
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in configuration["Labels"].items()}
    assert labels["title"] == f"course-materials/{service}"
    assert labels["licenses"] == "MIT"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", labels["base.digest"]) or image.builder.name == "docker"
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["version"])


def test_only_the_service_and_what_it_shares(image: BuiltImage, service: str) -> None:
    version = image.configuration["Labels"]["org.opencontainers.image.version"]
    expected = {"servicekit", "materials", SERVICES[service], f"course_materials-{version}.dist-info"}
    assert {path.name for path in (image.root / "app").iterdir()} == expected


def test_only_the_pinned_packages(image: BuiltImage, service: str) -> None:
    names = {
        canonicalize_name(path.name.removesuffix(".dist-info").rpartition("-")[0])
        for path in image.site_packages.glob("*.dist-info")
    }
    assert names == pinned(REQUIREMENTS / f"{service}.txt").keys()
    assert not names & BUILD_TOOLS


def test_no_compiler_and_nothing_left_behind(image: BuiltImage) -> None:
    programs = {
        path.name
        for part in ("bin", "usr/bin", "usr/local/bin", "opt/venv/bin")
        for path in (image.root / part).glob("*")
    }
    assert not programs & COMPILERS
    assert "python3" in programs
    assert not [name for name in LEFT_BEHIND if (image.root / name).exists()]
    assert not [path for path in own_files(image) if path.suffix == ".whl"]
    # The stubs' types and the contracts themselves: nothing reads them at run time.
    assert not [path for path in own_files(image) if "materials" in path.parts and path.suffix in (".pyi", ".proto")]
    installed = (image.root / "var/lib/dpkg/status").read_text()
    assert not re.findall(r"^Package: (?:gcc|g\+\+|build-essential|make|binutils|lib\S+-dev)$", installed, re.MULTILINE)


def test_small(image: BuiltImage, service: str) -> None:
    size = sum(path.stat().st_size for path in own_files(image) if path.is_file())
    assert size < MOST_MIB[service] * 1024 * 1024, f"{size / 1024 / 1024:.0f} MiB"


def test_nothing_of_it_is_writable_or_privileged(image: BuiltImage) -> None:
    for path in own_files(image):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (0, 0) or image.builder.name != "buildah", path
        assert not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID), path


def test_byte_code_is_there_and_never_checked(image: BuiltImage) -> None:
    for path in own_files(image):
        if path.suffix == ".py" and path.is_relative_to(image.root / "app"):
            (compiled,) = (path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc")
            # PEP 552: the flags; a hash that nobody compares.
            assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1, path


def test_the_last_stage_runs_nothing_and_knows_no_index(image: BuiltImage) -> None:
    steps = image.history()
    own = steps[next(number for number, step in enumerate(steps) if "licenses" in step) :]
    assert len(own) >= 6
    assert not [step for step in own if re.search(r"\bRUN\b|\bpip\b|/bin/sh -c (?!#\(nop\))", step)]
    told = json.dumps([dict(image.configuration), own])
    assert not [name for name in ("PIP_", "UV_", "INDEX", "PROXY", "proxy") if name in told]
    for secret in index_settings():
        assert secret not in told


def test_no_file_tells_of_an_index(image: BuiltImage) -> None:
    settings = index_settings()
    for name in ("etc/pip.conf", "etc/xdg/pip", "root/.netrc", "root/.pypirc", "opt/venv/pip.conf"):
        assert not (image.root / name).exists()
    for path in own_files(image):
        # Where pip came by a package, and what packages are configured by.
        if path.is_file() and (path.suffix in (".json", ".cfg", ".conf", ".ini", ".toml") or ".dist-info" in str(path)):
            text = path.read_text(errors="replace")
            assert path.name != "direct_url.json"
            assert not [setting for setting in settings if setting in text], path


def index_settings() -> set[str]:
    """What this machine's pip is told of indexes, as URLs and paths."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    told = [*re.findall(r"'([^']*)'", listed), *(value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")))]  # fmt: skip
    return {word for value in told for word in value.split() if "/" in word}
