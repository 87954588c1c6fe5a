"""What lies in the repository: no secret, and no dependency that is not pinned with the hashes of its files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*[A-Za-z0-9+/=]{20}",
    "AWS key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20}\b",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}",
    "API key": r"\bsk-[A-Za-z0-9_-]{24,}|\bAIza[0-9A-Za-z_-]{35}\b",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "URL with a password": r"\b[a-z]+://[^\s:/@{}<>$\"']+:(?=[^@\s]*[0-9])[^\s:/@{}<>$\"']{12,}@",
}
#: A pinned requirement, and the hash of one of its files, in the lock file.
PINNED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(\[[a-z,]+\])?==\S+.*\\\n(\s+--hash=sha256:[0-9a-f]{64}( \\)?\n)+", re.MULTILINE
)


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout: there is no list of what is in the repository")
    return [path for name in listing.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("kind", SECRETS)
def test_no_tracked_file_holds_a_secret(kind: str) -> None:
    pattern = re.compile(SECRETS[kind].encode())
    found = [
        f"{path.relative_to(ROOT)}: {match[0][:40]!r}"
        for path in tracked_files()
        for match in [pattern.search(path.read_bytes())]
        if match
    ]
    assert not found


def test_no_file_that_holds_secrets_is_tracked() -> None:
    names = re.compile(r"(^|/)(\.env(\..*)?|secrets\.json|id_(rsa|ed25519)|.*\.(pem|p12|pfx|key|keystore))$")
    assert not [path for path in tracked_files() if names.search(path.as_posix())]


def test_every_direct_dependency_is_pinned_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"].values()
    direct = {
        normal(re.split(r"[\[<>=!~; ]", each)[0]) for group in (project["dependencies"], *optional) for each in group
    }
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    pinned = {normal(match["name"]) for match in PINNED.finditer(lock + "\n")}
    assert direct <= pinned, f"not pinned: {sorted(direct - pinned)}"
    requirements = {
        normal(line.split("==")[0].split("[")[0]) for line in lock.splitlines() if re.match(r"^[A-Za-z0-9]", line)
    }
    assert requirements == pinned, f"without hashes: {sorted(requirements - pinned)}"


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
