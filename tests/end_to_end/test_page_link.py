"""`make run` prints a link that opens the page signed in, once; `materials open` makes another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.local_stack import free_port

PROJECT = Path(__file__).resolve().parents[2]


@contextmanager
def shown_stack(data_dir: Path, *arguments: str) -> Iterator[list[str]]:
    """The screen of a stack, up to the commands to try."""
    command = [sys.executable, "-m", "single_node", "--data-dir", str(data_dir), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            lines: list[str] = []
            while line := process.stdout.readline():
                lines.append(line.rstrip("\n"))
                if " list --course " in line:
                    break
            else:
                raise AssertionError(process.stderr.read())
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert process.returncode == 0


def open_page(stack_file: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "materials_cli", "open", "--print"],
        env={**os.environ, "MATERIALS_STACK": str(stack_file)},
        cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return result.stdout.strip()


def sign_in(http: httpx.Client, link: str) -> httpx.Response:
    """As the page does with the fragment of its address."""
    return http.post("/session", json={"ticket": link.partition("#sign-in=")[2]})


def test_each_link_signs_the_demo_user_in_once(tmp_path: Path) -> None:
    port = free_port()
    with shown_stack(tmp_path, "--port", f"gateway={port}") as screen:
        first = next(line for line in screen if line.startswith("Open in your browser: ")).rpartition(" ")[2]
        assert first.startswith(f"http://127.0.0.1:{port}/#sign-in=")
        stack_file = tmp_path / "stack.json"
        stack = json.loads(stack_file.read_text())
        assert (stack["gateway"], stack["endpoints"]["gateway"]) == (f"127.0.0.1:{port}", [f"127.0.0.1:{port}"])
        assert first.partition("=")[2] not in stack_file.read_text()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
            for link in (first, open_page(stack_file)):
                assert sign_in(http, link).json()["subject"] == "demo-user"
                http.cookies.clear()
                assert sign_in(http, link).status_code == 401, "a link works once"
