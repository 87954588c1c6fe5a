"""Fetches the wheels that images are made from into build/wheels, by this interpreter's pip and however that is configured.

The build itself sees only these files. So an index, its proxy and its token stay where they are, and no recipe has to know of them.
The wheels are for this machine's Python and processor: the base's Python must be of the same minor version.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys

from deploy.images.sources import PROJECT, REQUIREMENTS, SERVICES

WHEELS = PROJECT / "build" / "wheels"
FETCH_SECONDS = 900.0


def fetch_wheels() -> None:
    """Does nothing where they are already those that the requirements name. Raises CalledProcessError, pip having said why."""
    lists = [REQUIREMENTS / f"{name}.txt" for name in ("build", *SERVICES)]
    key = hashlib.sha256(sys.version.encode() + b"".join(path.read_bytes() for path in lists)).hexdigest()
    stamp = WHEELS / ".fetched"
    if stamp.is_file() and stamp.read_text() == key:
        return
    WHEELS.mkdir(parents=True, exist_ok=True)
    for wheel in WHEELS.glob("pip-*.whl"):  # the build takes the one that is there
        wheel.unlink()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(WHEELS)]
    for path in lists:
        command += ["--requirement", str(path)]
    subprocess.run(command, check=True, timeout=FETCH_SECONDS)
    stamp.write_text(key)
