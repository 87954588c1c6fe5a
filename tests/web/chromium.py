"""Where a Chromium is found, and how it is started without asking anybody but the page's own server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

UNPACKED = Path(__file__).resolve().parents[2] / ".local" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOT_FOUND = (
    "NO BROWSER: every test of the page is left out. Install chromium, set CHROMIUM to one, or run `make browser`."
)


def find_chromium() -> Path | None:
    """CHROMIUM of the environment, one on PATH, or the one `make browser` unpacked; None without any."""
    named = os.environ.get("CHROMIUM")
    if named:
        return Path(named)
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    if on_path:
        return Path(on_path)
    unpacked = UNPACKED / "chromium"
    return unpacked if unpacked.exists() else None


def browser_environment(executable: Path) -> dict[str, str]:
    """The environment to start it in: the unpacked one brings its libraries and fonts along."""
    if executable.parent != UNPACKED:
        return dict(os.environ)
    return {**os.environ, "LD_LIBRARY_PATH": str(UNPACKED / "lib"), "FONTCONFIG_PATH": str(UNPACKED)}
