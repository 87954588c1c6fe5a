"""How much memory a process took at its worst, by the kernel's own count: nothing between two samples is missed."""

from __future__ import annotations

from pathlib import Path

from tests.faults.scenario import Skipped


class PeakMemory:
    """The most that a process has resident from now on."""

    def __init__(self, pid: int) -> None:
        """Raises Skipped where there is no such count (not Linux), or it may not be set back."""
        self._process = Path(f"/proc/{pid}")
        try:
            (self._process / "clear_refs").write_text("5")  # sets VmHWM back, see proc(5)
            self._before = self._kib("VmRSS")
        except OSError as error:
            raise Skipped(f"the peak memory of a process cannot be measured here: {error}") from error

    def growth_mib(self) -> int:
        """The peak until now, beyond what it had at the beginning, in MiB."""
        return (self._kib("VmHWM") - self._before) // 1024

    def _kib(self, name: str) -> int:
        status = (self._process / "status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))
