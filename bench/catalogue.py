"""The lines, in the order of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bench.bed import Bed
from bench.lines import (
    brain_busy,
    first_call,
    growth,
    idle_cost,
    large_course,
    large_upload,
    local_brain,
    pipeline,
    scaling,
    search_speed,
    start_time,
    upload_rate,
    watching,
    watching_growth,
)
from bench.rows import Row

LINES: Mapping[str, Callable[[Bed], Awaitable[list[Row]]]] = {
    "upload-rate": upload_rate.measure,
    "large-upload": large_upload.measure,
    "pipeline": pipeline.measure,
    "first-call": first_call.measure,
    "brain-busy": brain_busy.measure,
    "idle-cost": idle_cost.measure,
    "start-time": start_time.measure,
    "growth": growth.measure,
    "scaling": scaling.measure,
    "local-brain": local_brain.measure,
    "search-speed": search_speed.measure,
    "large-course": large_course.measure,
    "watching": watching.measure,
    "watching-growth": watching_growth.measure,
}
