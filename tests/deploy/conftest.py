"""The images of the services, built once for all tests of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import gettempdir

import pytest
from filelock import FileLock

from deploy.images.build import NoBase, base_of, build_image
from deploy.images.builders import NAMES, Builder, find_builder, why_not
from deploy.images.sources import SERVICES, image_name
from tests.deploy.built_images import BuiltImage, cannot_run, unpacked

TAG = "tests"


@pytest.fixture(scope="session")
def images() -> Iterator[Mapping[str, BuiltImage]]:
    """By service. What was built from the same content is used again. Skips, loudly, where nothing here builds and runs images, or no base was made."""
    builder = _builder_that_runs()
    try:
        base = base_of(builder, "")
    except NoBase as missing:
        pytest.skip(f"NO IMAGES BUILT: {missing}")
    try:
        # Another worker of the same run waits, and finds them built.
        with FileLock(Path(gettempdir()) / "materials-test-images.lock"):
            for service in SERVICES:
                build_image(builder, service, base, TAG)
    except subprocess.CalledProcessError as failure:
        pytest.fail(f"{failure.cmd[0]} could not build an image; its words are above")
    with ExitStack() as opened:
        yield {service: opened.enter_context(unpacked(builder, image_name(service, TAG))) for service in SERVICES}


def _builder_that_runs() -> Builder:
    reasons = []
    for name in NAMES:
        if not (reason := why_not(name) or cannot_run(builder := find_builder(name))):
            return builder
        reasons.append(reason)
    pytest.skip(f"NO IMAGES BUILT: {'; '.join(reasons)} (Debian, as root: apt install buildah debootstrap)")
