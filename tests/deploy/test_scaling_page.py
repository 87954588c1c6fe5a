"""What docs/scaling.md takes for shipped is what the manifests and the defaults have."""

from __future__ import annotations

import re

from bench.simulate.shipped import SHIPPED, processor_memory
from tests.deploy.kustomized import PROJECT, rendered, secrets_of
from tests.deploy.service_settings import SETTINGS


def of_processors(setting: str) -> int:
    """As the container has it."""
    overlay = rendered("production")
    given = overlay.environment(overlay.service_container("processor"), secrets_of("production"))
    return int(given.get(setting.upper(), SETTINGS["processor"].model_fields[setting].default))


def test_the_overlay_is_what_the_page_takes_it_for() -> None:
    overlay = rendered("production")
    scaling = overlay.named("ScaledObject", "processor")["spec"]
    most = {
        each["metadata"]["name"]: each["spec"]["maxReplicas"] for each in overlay.of_kind("HorizontalPodAutoscaler")
    }
    [messages] = [each["metadata"]["lagThreshold"] for each in scaling["triggers"] if each["type"] == "nats-jetstream"]
    assert (SHIPPED.slots, SHIPPED.brain_concurrency) == (
        of_processors("processor_slots"),
        of_processors("ai_brain_concurrency"),
    )
    assert SHIPPED.messages == int(messages)
    assert SHIPPED.processors == scaling["maxReplicaCount"]
    assert (SHIPPED.status, SHIPPED.ingest) == (most["status"], most["ingest"])
    assert SHIPPED.watches == SETTINGS["status"].model_fields["max_watches"].default


def test_a_processor_has_the_memory_that_the_page_asks_for() -> None:
    limit = rendered("production").service_container("processor")["resources"]["limits"]["memory"]
    assert processor_memory(SHIPPED.slots) <= int(limit.removesuffix("Gi")) * 1024**3


def test_the_page_says_where_each_number_is_set() -> None:
    page = (PROJECT / "docs/scaling.md").read_text(encoding="utf-8")
    chapter = page.partition("## What the overlay carries")[2].partition("\n## ")[0]
    rows = {row[0]: row[1] for row in re.findall(r"^\| (.*?) \| ([\d,]+) \|", chapter, re.MULTILINE)}
    assert rows["`lagThreshold`"] == str(SHIPPED.messages)
    assert rows["`maxReplicaCount` of Processors"] == str(SHIPPED.processors)
    assert f"| {SHIPPED.processors} Processors of {SHIPPED.slots} slots |" in chapter
