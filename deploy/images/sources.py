"""What an image is made of: by it a build knows that there is nothing to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = PROJECT / "deploy" / "images" / "Containerfile"
REQUIREMENTS = PROJECT / "requirements" / "images"
#: The service's package, by target of the recipe.
SERVICES: Mapping[str, str] = {
    "ingest": "ingest_service",
    "status": "status_service",
    "processor": "processor_service",
    "gateway": "gateway",
}
#: Label of an image: `content_key` of what it was made from.
CONTENT_LABEL = "course-materials.content"


def image_name(service: str, tag: str) -> str:
    """What `course-materials/SERVICE:TAG` in a manifest means: of a short name buildah and podman would make one of `localhost`, which no cluster finds.
    Whoever pushes it puts their own registry in the place of this one."""
    return f"docker.io/course-materials/{service}:{tag}"


def content_key(service: str, arguments: Mapping[str, str]) -> str:
    """Hex sha256 of all that goes into the service's image: files, their names, and the arguments of the build."""
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode())
    for path in sorted(_files(service)):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(PROJECT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _files(service: str) -> Iterator[Path]:
    yield from (RECIPE, PROJECT / ".dockerignore", PROJECT / "hatch_build.py")
    yield from (REQUIREMENTS / "build.txt", REQUIREMENTS / f"{service}.txt")
    for folder in ("protos", "servicekit", SERVICES[service]):
        yield from (
            path
            for path in (PROJECT / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
        )
