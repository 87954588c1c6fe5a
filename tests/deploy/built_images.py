"""A built image as tests see it: its configuration, its files, and its processes under the conditions of a restricted pod."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.images.builders import Builder

UNPACK_SECONDS = 120.0
# What a container runtime does, for a machine without one: namespaces of its own for mounts and processes, everything read-only but /tmp, no privileges to
# be gained, then the image's user. The network stays the machine's. Arguments: root, uid:gid, what is mounted at /tmp/objects or "", the command.
_CONTAIN = """
set -e
root=$1 user=$2 objects=$3
shift 3
mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,size=512m tmpfs "$root/tmp"
if [ -n "$objects" ]; then
  mkdir "$root/tmp/objects"
  mount --bind "$objects" "$root/tmp/objects"
fi
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs "$(command -v chroot)" --userspec="$user" --groups= "$root" env -i "$@"
"""


@dataclass(frozen=True)
class BuiltImage:
    """An image, and where its files lie unpacked."""

    builder: Builder
    name: str
    root: Path
    configuration: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """What the image sets."""
        return dict(line.split("=", 1) for line in self.configuration["Env"])

    @property
    def site_packages(self) -> Path:
        """Where its dependencies are."""
        (found,) = self.root.glob("opt/venv/lib/python3.*/site-packages")
        return found

    def command(
        self, settings: Mapping[str, str], *, command: Sequence[str] = (), objects: Path | None = None
    ) -> list[str]:
        """Runs the image's entry point, or another command, as its own user on a read-only root with /tmp alone to write to."""
        if self.builder.name == "buildah":
            variables = [f"{name}={value}" for name, value in {**self.environment, **settings}.items()]
            contain = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", _CONTAIN, "contain"]
            contain += [str(self.root), self.configuration["User"], str(objects or "")]
            return [*contain, *variables, *(command or self.configuration["Entrypoint"])]
        run = [self.builder.name, "run", "--rm", "--read-only", "--tmpfs", "/tmp:mode=1777", "--network", "host"]
        run += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        run += [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
        run += ["--volume", f"{objects}:/tmp/objects"] if objects is not None else []
        run += ["--entrypoint", command[0]] if command else []
        return [*run, self.name, *command[1:]]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another command in it, to its end."""
        return subprocess.run(
            self.command({}, command=command), capture_output=True, text=True, timeout=60, check=False
        )

    def history(self) -> list[str]:
        """What each step did, the base's included, oldest first."""
        if self.builder.name == "buildah":
            template = "{{range .OCIv1.History}}{{.CreatedBy}}\n{{end}}"
            return self.builder.call("inspect", "--type", "image", "--format", template, self.name).splitlines()
        steps = self.builder.call("history", "--no-trunc", "--format", "{{.CreatedBy}}", self.name).splitlines()
        return steps[::-1]


def cannot_run(builder: Builder) -> str:
    """Why images cannot be run by these means; empty when they can."""
    if builder.name != "buildah":
        return ""
    if os.geteuid() != 0:
        return "running an image that buildah built needs root here; docker and podman do without"
    programs = [name for name in ("unshare", "setpriv", "chroot") if shutil.which(name) is None]
    return f"{', '.join(programs)} (Debian: util-linux, coreutils) is needed to run an image" if programs else ""


@contextmanager
def unpacked(builder: Builder, name: str) -> Iterator[BuiltImage]:
    """The image with its files at hand, until the end of the block."""
    configuration = builder.configuration(name)
    assert configuration is not None, f"there is no image {name}"
    container = builder.call(*(("from", "--pull-never") if builder.name == "buildah" else ("create",)), name)
    try:
        if builder.name == "buildah":
            yield BuiltImage(builder, name, Path(builder.call("mount", container)), configuration)
        else:
            with tempfile.TemporaryDirectory(prefix="image-root-") as directory:
                archive, root = Path(directory) / "root.tar", Path(directory) / "root"
                builder.call("export", "--output", str(archive), container, seconds=UNPACK_SECONDS)
                with tarfile.open(archive) as files:
                    files.extractall(root, filter="tar")
                yield BuiltImage(builder, name, root, configuration)
    finally:
        builder.call("rm", container)
