"""The code of the last release, as a tree of its own beside this one: which commit that was stands in the changelog, where a version has its date."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
#: `## 0.5.0 (2026-11-27, 97f7097)`; a version that is not released says so instead.
RELEASED = re.compile(
    r"^## (?P<version>\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}, (?P<commit>[0-9a-f]{7,40})\)$", re.MULTILINE
)
GIT_SECONDS = 60
STUBS_SECONDS = 120


class NotHere(Exception):
    """This clone does not have the commit; the message says what to do."""


@dataclass(frozen=True)
class Release:
    """A version, and the commit that is it."""

    version: str
    commit: str


@dataclass(frozen=True)
class ReleasedCode:
    """Its tree, with stubs of its own."""

    release: Release
    tree: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes `python -m SERVICE`, started in the tree, this code and no other."""
        return {"PYTHONPATH": f"{self.tree}{os.pathsep}{self.tree / 'build' / 'stubs'}"}


def last_release(changelog: str) -> Release | None:
    """The newest version that has a date and a commit; None before the first."""
    found = RELEASED.search(changelog)
    return Release(found["version"], found["commit"]) if found else None


def _is_here(release: Release) -> bool:
    wanted = f"{release.commit}^{{commit}}"
    command = ["git", "-C", str(PROJECT), "cat-file", "-e", wanted]
    return subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False).returncode == 0


def take_out(release: Release, tree: Path) -> ReleasedCode:
    """The release's code below `tree`. Raises NotHere, and CalledProcessError where its stubs cannot be made."""
    archive = subprocess.run(
        ["git", "-C", str(PROJECT), "archive", "--format=tar", release.commit],
        capture_output=True,
        timeout=GIT_SECONDS,
        check=False,
    )
    if archive.returncode != 0:
        raise NotHere(
            f"{release.version} is commit {release.commit}, which this clone does not have: git fetch --unshallow"
        )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    subprocess.run([sys.executable, "hatch_build.py"], cwd=tree, capture_output=True, timeout=STUBS_SECONDS, check=True)
    return ReleasedCode(release, tree)


if __name__ == "__main__":
    found = last_release((PROJECT / "CHANGELOG.md").read_text())
    if found is not None and _is_here(found):
        print(found.commit)
