"""`make demo` is what a new user runs first: it must do what it says, and fail when it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fpdf import FPDF


def run_demo(directory: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "single_node.demo", *map(str, files)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_the_demo_reads_its_own_documents_and_finds_the_right_pages(tmp_path: Path) -> None:
    result = run_demo(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "found on page 2 of energy-in-living-cells.pdf" in result.stdout
    assert "found on page 1 of bayes-theorem-scan.png" in result.stdout
    assert "answered from page 2 of energy-in-living-cells.pdf" in result.stdout
    assert "answered from page 1 of bayes-theorem-scan.png" in result.stdout
    assert "reading, 1/2 pages" in result.stdout, "progress was not shown page by page"


def test_the_demo_fails_with_the_reason_when_a_material_cannot_be_read(tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    pdf.cell(text="secret")
    pdf.set_encryption(owner_password="owner", user_password="user")
    locked = tmp_path / "locked.pdf"
    pdf.output(str(locked))
    result = run_demo(tmp_path, locked)
    assert result.returncode == 1
    assert "password" in result.stdout
    assert "The demo failed" in result.stdout


def test_a_real_scan_of_the_users_own_is_read_and_found(tmp_path: Path, samples: Path) -> None:
    result = run_demo(tmp_path, samples / "phototest.tif")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "found on page 1 of phototest.tif" in result.stdout
