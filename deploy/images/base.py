"""Makes the base image from Debian's own packages, for machines that reach no registry: `make image-base`.

Needs root, debootstrap and a builder. It is Debian's minimal system with Python and the certificates of public authorities, nothing else.
debootstrap checks Debian's signature; where from is its own setting, or MIRROR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.images.builders import NAMES, Builder, NoBuilder, find_builder

#: Debian's release; its Python is 3.11.
SUITE = "bookworm"
LOCAL_BASE = f"localhost/course-materials/base:{SUITE}"
PACKAGES = ("ca-certificates", "python3")
DEBOOTSTRAP_SECONDS = 1200.0
IMPORT_SECONDS = 300.0
# Of no use to a process that never installs anything.
_LEFT_OUT = ("./dev/*", "./var/cache/*", "./var/lib/apt/lists/*", "./var/log/*", "./usr/share/doc/*", "./usr/share/man/*")  # fmt: skip


def main() -> int:
    """0; 1 with a line on stderr when something is missing or fails."""
    parser = argparse.ArgumentParser(prog="make image-base", description=__doc__)
    parser.add_argument("--builder", default="", help=f"one of {', '.join(NAMES)}; else the first that works")
    parser.add_argument(
        "--mirror", default="", help="where debootstrap takes Debian from, unless from where it always does"
    )
    options = parser.parse_args()
    try:
        builder = find_builder(options.builder)
    except NoBuilder as missing:
        return _say(str(missing))
    if shutil.which("debootstrap") is None:
        return _say(
            "debootstrap is not installed (apt install debootstrap); with a registry in reach give BASE instead"
        )
    if os.geteuid() != 0:
        return _say("debootstrap needs root; with a registry in reach give BASE instead")
    try:
        with tempfile.TemporaryDirectory(prefix="image-base-") as directory:
            _import(builder, _archive(Path(directory), options.mirror))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        return _say(f"{failure.cmd[0]} failed; its words are above")
    print(f"made {builder.pinned(LOCAL_BASE)} with {builder.name}")
    return 0


def _archive(directory: Path, mirror: str) -> Path:
    root, archive = directory / "root", directory / "root.tar"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    subprocess.run([*command, mirror] if mirror else command, check=True, timeout=DEBOOTSTRAP_SECONDS)
    left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    subprocess.run(
        [
            shutil.which("tar") or "tar",
            "--create",
            "--numeric-owner",
            f"--file={archive}",
            f"--directory={root}",
            *left_out,
            ".",
        ],
        check=True,
        timeout=IMPORT_SECONDS,
    )
    return archive


def _import(builder: Builder, archive: Path) -> None:
    if builder.name != "buildah":
        builder.call("import", str(archive), LOCAL_BASE, seconds=IMPORT_SECONDS)
        return
    container = builder.call("from", "scratch")
    try:
        builder.call("add", "--quiet", container, str(archive), "/", seconds=IMPORT_SECONDS)
        builder.call("commit", "--quiet", container, LOCAL_BASE, seconds=IMPORT_SECONDS)
    finally:
        builder.call("rm", container)


def _say(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
