"""What stands in the paths, as OpenAPI shows it. What is allowed is decided by the services."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from gateway.representations import MATERIAL_ID

MaterialId = Annotated[str, Path(description="a material's id", examples=[MATERIAL_ID])]
CourseId = Annotated[
    str,
    Path(
        description="1-128 visible characters without spaces or slashes",
        examples=["biology-101"],
        json_schema_extra={"minLength": 1, "maxLength": 128},
    ),
]
