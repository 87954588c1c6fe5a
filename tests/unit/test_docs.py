"""What the docs say is what the contracts hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.upgrades.released_code import RELEASED

PROJECT = Path(__file__).resolve().parents[2]


def test_the_tables_of_the_api_page_are_those_of_the_contracts() -> None:
    result = subprocess.run([sys.executable, PROJECT / "docs" / "generate_tables.py", "--check"], check=False)
    assert result.returncode == 0, "run: python docs/generate_tables.py"


def test_every_page_that_the_docs_link_to_exists() -> None:
    import re

    for page in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_nothing_below_a_release_is_unreleased() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = RELEASED.search(changelog)
    assert newest is not None
    assert "(unreleased)" not in changelog[newest.end() :]
