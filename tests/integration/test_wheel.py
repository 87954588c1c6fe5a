"""`pip install .` brings the typed stubs and everything that the services read at run time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(directory),
    ]
    subprocess.run([*command, str(PROJECT)], check=True, timeout=240)
    [built] = directory.glob("*.whl")
    return built


def test_the_wheel_holds_stubs_types_migrations_and_texts(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "materials/py.typed",
        "materials/v1/material_pb2.py",
        "materials/v1/material_pb2.pyi",
        "materials/v1/status_service_pb2_grpc.py",
        "materials/v1/status_service_pb2_grpc.pyi",
        "single_node/sample_text.md",
        "gateway/static/index.html",
        "gateway/static/style.css",
        "gateway/static/app.js",
        "gateway/static/mark.svg",
    }
    assert wanted <= names
    for service in ("status_service", "processor_service"):
        assert any(name.startswith(f"{service}/migrations/") and name.endswith(".sql") for name in names)
    assert not any(name.startswith(("tests/", "docs/")) for name in names)


def test_the_stubs_work_and_type_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = tmp_path / "client.py"
    program.write_text(
        "from materials.v1 import material_pb2, status_service_pb2_grpc\n"
        "material: material_pb2.Material = material_pb2.Material(name='a')\n"
        "stub = status_service_pb2_grpc.StatusServiceStub\n"
        "print(material.name, material_pb2.__file__)\n"
    )
    # Before the editable install's own path.
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=True)
    assert str(site) in ran.stdout
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        str(tmp_path / "cache"),
        str(program),
    ]
    checked = subprocess.run(
        mypy, env={**environment, "MYPYPATH": str(site)}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    program.write_text(program.read_text() + "material.name = 3\n")
    refused = subprocess.run(
        mypy, env={**environment, "MYPYPATH": str(site)}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Incompatible types" in refused.stdout, "the types are not seen"
