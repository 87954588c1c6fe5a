"""Where the parts of a peer find what they need; handed to them through the environment, as such programs have it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "BENCH_PEER"


@dataclass(frozen=True, slots=True)
class Deployment:
    """URLs, a directory for the files, and a name for the queue that no other run has. `works`: whether jobs are done, or only put into the queue."""

    database: str
    nats: str
    redis: str
    brain: str
    directory: str
    queue: str
    works: bool

    def as_environment(self) -> Mapping[str, str]:
        """For a child process."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Deployment:
        """In the child process. Raises KeyError elsewhere."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def file_path(self, material_id: object) -> Path:
        """Where a material's bytes are."""
        return Path(self.directory, str(material_id))
