"""What builds images on this machine, and how each of them is spoken to: docker, buildah or podman."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 30.0


class NoBuilder(Exception):
    """Nothing here builds images; the message says what is missing."""


# buildah before podman: both keep images in one place, and buildah builds where podman can run nothing.
NAMES = ("docker", "buildah", "podman")


@dataclass(frozen=True)
class Builder:
    """One program that builds images. `options` go before its commands, `build_options` after `build`."""

    name: str
    options: tuple[str, ...] = ()
    build_options: tuple[str, ...] = ()

    def build_command(
        self,
        *,
        recipe: Path,
        context: Path,
        target: str,
        image: str,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        extra: Sequence[str] = (),
    ) -> list[str]:
        """Builds one target of a recipe under the name `image`; `extra` are the caller's own options."""
        return [
            *(self.name, *self.options, "build", *self.build_options, *extra),
            *("--file", str(recipe), "--target", target, "--tag", image),
            *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
            *(part for name, value in labels.items() for part in ("--label", f"{name}={value}")),
            str(context),
        ]

    def call(self, *arguments: str, seconds: float = ANSWER_SECONDS) -> str:
        """Its answer, without the line's end. Raises CalledProcessError when it refuses, TimeoutExpired."""
        command = [self.name, *self.options, *arguments]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)
        return answer.stdout.strip()

    def configuration(self, image: str) -> dict[str, Any] | None:
        """The image's configuration as OCI names it (User, Env, Entrypoint, Labels, …); None where there is no such image."""
        try:
            if self.name == "buildah":
                described = json.loads(self.call("inspect", "--type", "image", image))
                return dict(described["OCIv1"]["config"])
            return dict(json.loads(self.call("image", "inspect", image))[0]["Config"])
        except subprocess.CalledProcessError:
            return None

    def pinned(self, image: str) -> str:
        """The name of a local image by its digest; docker gives none to an image that no registry has, which keeps its tag."""
        if self.name == "docker":
            return image
        repository = image.rpartition(":")[0]
        if self.name == "buildah":
            return f"{repository}@{json.loads(self.call('inspect', '--type', 'image', image))['FromImageDigest']}"
        return f"{repository}@{json.loads(self.call('image', 'inspect', image))[0]['Digest']}"


def find_builder(asked: str = "") -> Builder:
    """The first of `NAMES` that works here, or the one that is asked for. Raises NoBuilder."""
    if asked and asked not in NAMES:
        raise NoBuilder(f"BUILDER={asked}: it must be one of {', '.join(NAMES)}")
    missing = []
    for name in [asked] if asked else NAMES:
        if not (reason := why_not(name)):
            return _builder(name)
        missing.append(reason)
    raise NoBuilder(f"nothing here builds images: {'; '.join(missing)} (Debian: apt install buildah)")


def why_not(name: str) -> str:
    """What keeps one of `NAMES` from building here; empty when nothing does."""
    if shutil.which(name) is None:
        return f"{name} is not installed"
    works = _answers([name, "info"]) or (name == "buildah" and _answers([name, *_PLAIN_STORAGE, "info"]))
    return "" if works else _WHY_NOT[name]


_WHY_NOT = {
    "docker": "docker is installed, but its daemon does not answer",
    "podman": "podman is installed, but `podman info` fails",
    "buildah": "buildah is installed, but `buildah info` fails",
}
# Works where a file system cannot be laid over another, in a container for one; each layer is a whole copy.
_PLAIN_STORAGE = ("--storage-driver", "vfs")


def _builder(name: str) -> Builder:
    if name == "docker":
        return Builder(name)
    if name == "podman":
        # As docker keeps them; podman asks nobody for what is named localhost.
        return Builder(name, build_options=("--layers",))
    options = () if _answers([name, "info"]) else _PLAIN_STORAGE
    # Needs no OCI runtime, nor what such a one needs of the machine.
    isolation = () if "BUILDAH_ISOLATION" in os.environ else ("--isolation", "chroot")
    return Builder(name, options=options, build_options=("--layers", *isolation))


def _answers(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=ANSWER_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False
