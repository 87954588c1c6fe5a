"""Builds the images of the services with the builder that is there: `make images`.

What is already built from the same content is not built again. The base is named by digest, or it is the one of `make image-base`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from importlib.metadata import version

from deploy.images.base import LOCAL_BASE
from deploy.images.builders import NAMES, Builder, NoBuilder, find_builder
from deploy.images.sources import CONTENT_LABEL, PROJECT, RECIPE, SERVICES, content_key, image_name
from deploy.images.wheels import fetch_wheels

BUILD_SECONDS = 1800.0
DISTRIBUTION = "course-materials"


class NoBase(Exception):
    """There is no base image to build on; the message says how to name one."""


def main() -> int:
    """0; 1 with a line on stderr when something is missing or fails."""
    parser = argparse.ArgumentParser(prog="make images", description=__doc__)
    parser.add_argument("--base", default="", help="image to build on, NAME@sha256:…; else that of `make image-base`")
    parser.add_argument(
        "--tag", default=version(DISTRIBUTION), help="tag of the images; the project's version, %(default)s, by default"
    )
    parser.add_argument("--builder", default="", help=f"one of {', '.join(NAMES)}; else the first that works")
    parser.add_argument("--options", default="", help="further options of the builder's build command")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=f"of {', '.join(SERVICES)}; all by default")
    options = parser.parse_args()
    if unknown := set(options.services) - set(SERVICES):
        parser.error(f"no such service: {', '.join(sorted(unknown))}")
    try:
        builder = find_builder(options.builder)
        base = base_of(builder, options.base)
        for service in options.services or SERVICES:
            fresh = build_image(builder, service, base, options.tag, extra=shlex.split(options.options))
            print(f"{image_name(service, options.tag)}: {'built with ' + builder.name if fresh else 'is up to date'}")
    except (NoBuilder, NoBase) as missing:
        print(missing, file=sys.stderr)
        return 1
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        print(f"{failure.cmd[0]} failed; its words are above", file=sys.stderr)
        return 1
    return 0


def base_of(builder: Builder, asked: str) -> str:
    """The base's name, checked. Raises NoBase for one that is not pinned, and where none is asked for and none was made."""
    if asked:
        if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", asked):
            raise NoBase(f"BASE={asked} is not pinned: name it by digest, NAME@sha256:…")
        return asked
    if builder.configuration(LOCAL_BASE) is None:
        raise NoBase(
            "no base image: give BASE=NAME@sha256:… (Debian-like, with Python), or make one with `make image-base`"
        )
    return builder.pinned(LOCAL_BASE)


def build_image(builder: Builder, service: str, base: str, tag: str, *, extra: list[str] | None = None) -> bool:
    """Whether it had to be built. Raises CalledProcessError, the builder having said why, and TimeoutExpired."""
    arguments = {"BASE": base, "VERSION": version(DISTRIBUTION)}
    image, key = image_name(service, tag), content_key(service, arguments)
    there = builder.configuration(image)
    if there is not None and (there.get("Labels") or {}).get(CONTENT_LABEL) == key:
        return False
    fetch_wheels()
    command = builder.build_command(
        recipe=RECIPE,
        context=PROJECT,
        target=service,
        image=image,
        arguments=arguments,
        labels={
            CONTENT_LABEL: key,
            "org.opencontainers.image.base.name": base.partition("@")[0],
            "org.opencontainers.image.base.digest": base.partition("@")[2],
            "org.opencontainers.image.revision": _revision(),
            "org.opencontainers.image.version": arguments["VERSION"],
        },
        extra=extra or [],
    )
    subprocess.run(command, check=True, timeout=BUILD_SECONDS)
    return True


def _revision() -> str:
    """The commit; empty where the project is no checkout."""
    command = ["git", "-C", str(PROJECT), "rev-parse", "--verify", "HEAD"]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return answer.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
