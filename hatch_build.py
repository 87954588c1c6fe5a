"""Build hook: generates the typed gRPC stubs of protos/ into build/stubs, so that none lives in git.

Wheels take the stubs in as the package `materials`; editable installs find them through `dev-mode-dirs`.
`make protos` runs the same function by hand.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script in an environment without the build backend
    BuildHookInterface = object  # type: ignore[assignment,misc]

PROJECT = Path(__file__).resolve().parent
STUBS = PROJECT / "build" / "stubs"


def generate_stubs(protos: Path = PROJECT / "protos", out: Path = STUBS) -> list[Path]:
    """Compiles every .proto below `protos` into `out`, replacing what was there; returns the files compiled.

    Raises RuntimeError with the compiler's own words when a file does not compile.
    """
    sources = sorted(protos.rglob("*.proto"))
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    well_known = files("grpc_tools") / "_proto"
    scripts = Path(sys.executable).parent
    command = [
        sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"-I{well_known}",
        f"--plugin=protoc-gen-mypy={_plugin('protoc-gen-mypy', scripts)}",
        f"--plugin=protoc-gen-mypy_grpc={_plugin('protoc-gen-mypy_grpc', scripts)}",
        f"--python_out={fresh}", f"--grpc_python_out={fresh}",
        f"--mypy_out={fresh}", f"--mypy_grpc_out={fresh}",
        *[str(source.relative_to(protos)) for source in sources],
    ]  # fmt: skip
    result = subprocess.run(command, cwd=protos, capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        raise RuntimeError(f"protoc failed:\n{result.stderr}")
    for module in protos.rglob("*.py"):  # written by hand, shipped with the stubs
        shutil.copy(module, fresh / module.relative_to(protos))
    for package in {fresh / "materials", *(fresh / source.parent.relative_to(protos) for source in sources)}:
        (package / "__init__.py").touch()
    (fresh / "materials" / "py.typed").touch()
    _replace_tree(fresh, out)
    return sources


def _replace_tree(fresh: Path, out: Path) -> None:
    """Moves each file to its place: a program that runs from `out` meanwhile finds every module at any time."""
    wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    for path in sorted(wanted):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (fresh / path).replace(out / path)
    for path in out.rglob("*.py*"):
        if path.relative_to(out) not in wanted and path.suffix in (".py", ".pyi"):
            path.unlink()
    shutil.rmtree(fresh)


def _plugin(name: str, scripts: Path) -> str:
    found = shutil.which(name, path=str(scripts)) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed beside {sys.executable}; install mypy-protobuf")
    return found


class StubsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's entry point."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs before a wheel (plain or editable) is put together."""
        generate_stubs()
        if version != "editable":
            build_data["force_include"][str(STUBS / "materials")] = "materials"


if __name__ == "__main__":
    for path in generate_stubs():
        print(f"compiled {path.relative_to(PROJECT)}")
