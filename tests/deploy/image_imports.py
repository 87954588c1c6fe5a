"""What a service imports, worked out from its sources: its own modules, and the distributions that the others come from."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.images.sources import PROJECT

STUBS = PROJECT / "build" / "stubs"


def imported_distributions(start: str, own: frozenset[str]) -> set[str]:
    """Canonical names of all distributions imported, at whatever time, by module `start` and those of the packages `own` that it needs."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for imported in _imports(path):
            top = imported.partition(".")[0]
            if top in own:
                waiting.append(imported)
            elif top not in sys.stdlib_module_names and (owner := _owner(imported)) is not None:
                found.add(owner)
    return found


def needed_distributions(names: set[str]) -> set[str]:
    """These, and all that they need on this platform."""
    found: set[str] = set()
    waiting = [(name, "") for name in names]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found.add(name)
        for line in _by_name()[name].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                waiting += [(needed, each) for each in ("", *requirement.extras)]
    return found


def distribution_files(name: str) -> Iterator[tuple[Path, Path]]:
    """Each file of an installed distribution that is imported or read: where it is in site-packages, and on disk."""
    for file in _by_name()[name].files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            yield Path(file), Path(str(file.locate()))


@cache
def _by_name() -> Mapping[str, Distribution]:
    return {canonicalize_name(each.name): each for each in distributions()}


@cache
def _owners() -> Mapping[str, str]:
    """Distribution by module: by file, since namespace packages such as `google` have several."""
    owners: dict[str, str] = {}
    for name, distribution in _by_name().items():
        for file in distribution.files or []:
            if file.suffix in (".py", ".so") and ".." not in file.parts:
                module = ".".join((*file.parts[:-1], file.name.partition(".")[0]))
                owners[module.removesuffix(".__init__")] = name
    return owners


def _owner(imported: str) -> str | None:
    """By the longest part of the name that is a module; None for a bare namespace, or what lies in none that is installed."""
    parts = imported.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_owners()[name] for name in names if name in _owners()), None)


def _source(module: str) -> Path | None:
    base = (STUBS if module.startswith("materials") else PROJECT).joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """Modules, and names that may be modules or lie in one."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
