"""Dashboard, alert rules and runbook speak of metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from materials.v1 import errors_pb2, material_pb2
from prometheus_client import CollectorRegistry

from deploy.images.sources import SERVICES
from gateway.metrics import GatewayMetrics
from ingest_service.metrics import IngestMetrics
from processor_service.metrics import ProcessorMetrics
from servicekit.errors import reason_name
from servicekit.metrics import CallMetrics, EventLoopLag, process_metrics
from status_service.metrics import QueueMetrics, StatusMetrics

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "deploy" / "observability"
PROMTOOL_SECONDS = 60
#: Told by Prometheus itself.
PROMETHEUS_OWN = {"up"}
#: On no panel and in no rule, since other tools know them.
NOT_SHOWN = {"process_virtual_memory_bytes", "process_start_time_seconds"}
#: Begin with the first call: too many combinations of method and code. What alerts on them goes by their share of all calls, for minutes.
BY_METHOD = {"grpc_server_handled_total", "http_requests_total"}
#: What PromQL has besides metrics, as far as it is used here.
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool"}


def fresh() -> CollectorRegistry:
    """What all services together tell before anything has happened, the queue apart."""
    registry = CollectorRegistry()
    CallMetrics(registry), EventLoopLag(registry), process_metrics(registry)
    IngestMetrics(registry), StatusMetrics(registry), ProcessorMetrics(registry), GatewayMetrics(registry)
    return registry


def metrics() -> dict[str, str]:
    """Every metric of the code by its name in queries, without the endings of a histogram's series; its type."""
    registry = fresh()
    described = list(QueueMetrics(Mock(), registry).describe())
    families = [*registry.collect(), *described]
    return {f"{each.name}_total" if each.type == "counter" else each.name: each.type for each in families}


def names_in(query: str) -> set[str]:
    """The metrics that a query asks for."""
    query = re.sub(r'"[^"]*"', "", query)
    query = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", query)
    query = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", query)
    found = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\(|[a-zA-Z0-9_:])", query)
    return {name for name in found if name not in WORDS and not name.startswith("__")}


def base_name(name: str, known: dict[str, str]) -> str:
    """The histogram's own name, for one of its series."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if known.get(base) == "histogram" else name


def labels_in(query: str) -> dict[str, set[str]]:
    """The values that a query asks for, by label, where they are given one by one."""
    values: dict[str, set[str]] = {}
    for label, value in re.findall(r'(\w+)=~?"([A-Za-z_|]+)"', query):
        values.setdefault(label, set()).update(value.split("|"))
    return values


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    for alert in alerts():
        yield f"alert {alert['alert']}", alert["expr"]


def test_names_are_found_in_queries() -> None:
    query = 'max by (le) (rate(a_bucket{x="y", z=~"(b|c)"}[5m])) / on (x) c_total > 0.5 and absent(d) == 0'
    assert names_in(query) == {"a_bucket", "c_total", "d"}


def test_every_query_asks_for_metrics_that_there_are() -> None:
    known = metrics()
    for where, query in queries():
        assert names_in(query), where
        unknown = {name for name in names_in(query) if base_name(name, known) not in known} - PROMETHEUS_OWN
        assert not unknown, where
        for name in names_in(query):
            if known.get(base_name(name, known)) == "histogram":
                assert name.endswith(("_bucket", "_sum", "_count")), f"{where}: {name} is no series of a histogram"


def test_every_metric_is_on_a_panel_or_in_a_rule_or_known_not_to_be() -> None:
    known = metrics()
    asked_for = {base_name(name, known) for _, query in queries() for name in names_in(query)}
    assert set(known) - asked_for == NOT_SHOWN


def test_reasons_and_methods_in_queries_are_those_of_the_contract() -> None:
    reasons = {reason_name(value) for value in errors_pb2.ErrorReason.values()}
    reasons |= {
        value.removeprefix("FAILURE_REASON_").lower()
        for value in material_pb2.FailureReason.keys()  # noqa: SIM118
    }
    protos = "".join(path.read_text() for path in (PROJECT / "protos/materials/v1").glob("*.proto"))
    methods = set(re.findall(r"rpc (\w+)\(", protos))
    for where, query in queries():
        labels = labels_in(query)
        assert labels.get("reason", set()) <= reasons, where
        assert labels.get("grpc_method", set()) <= methods, where


def test_what_alerts_count_is_counted_from_zero() -> None:
    """What begins with its first event has not increased by it, and a sum of nothing is no 0."""
    series: dict[str, list[dict[str, str]]] = {}
    for family in fresh().collect():
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    asked_for = 0
    for alert in alerts():
        for name, selector in re.findall(r"(\w+_total)(\{[^}]*\})?", alert["expr"]):
            if name in BY_METHOD:
                continue
            wanted = labels_in(selector)
            asked_for += 1
            assert series[name], f"{alert['alert']}: {name}"
            for label, values in wanted.items():
                assert values <= {labels[label] for labels in series[name]}, f"{alert['alert']}: {name}, {label}"
    assert asked_for > 6


def test_names_follow_the_conventions() -> None:
    for name, kind in metrics().items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name.startswith(("materials_", "grpc_server_", "http_request", "process_")), name
        assert not (kind == "gauge" and name.endswith("_total")), name


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    assert dashboard["title"]
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 30
    every = dashboard["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_each_alert_says_what_how_urgent_and_where_to_read_on() -> None:
    for alert in alerts():
        assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}, alert["alert"]
        assert re.fullmatch(r"\d+[smh]", alert.get("for", "0s"))
        assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"})
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
    names = [alert["alert"] for alert in alerts()]
    assert len(set(names)) == len(names)


def test_each_alert_has_its_section_in_the_runbook_and_each_section_its_alert() -> None:
    page = (PROJECT / "docs" / "operations.md").read_text()
    chapter = page.split("\n## Alerts\n")[1].split("\n## ")[0]
    sections = dict(re.findall(r"\n### (\w+)\n(.*?)(?=\n### |\Z)", chapter, re.DOTALL))
    assert set(sections) == {alert["alert"] for alert in alerts()}
    for name, text in sections.items():
        assert [text.count(f"* **{part}:**") for part in ("Means", "Look", "Do")] == [1, 1, 1], name
        assert text.count("\n* ") == 3, f"{name} has something that belongs elsewhere"


@pytest.mark.parametrize(
    ("verb", "file"), [("check", FOLDER / "alerts.yaml"), ("test", Path(__file__).with_name("alert_cases.yaml"))]
)
def test_prometheus_itself_takes_the_rules_and_they_fire_when_they_should(verb: str, file: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT CHECKED BY PROMTOOL: the alert rules; on Debian: apt install prometheus")
    result = subprocess.run(
        [promtool, verb, "rules", file], capture_output=True, text=True, check=False, timeout=PROMTOOL_SECONDS
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_scrape_configuration_gives_the_jobs_that_the_rules_ask_for() -> None:
    [scrape] = yaml.safe_load((FOLDER / "scrape.yaml").read_text())["scrape_configs"]
    jobs = [each["replacement"] for each in scrape["relabel_configs"] if each.get("target_label") == "job"]
    assert jobs == ["course-materials-$1"]
    counted = set(re.findall(r'"course-materials-(\w+)"', " ".join(alert["expr"] for alert in alerts())))
    assert counted == set(SERVICES), "ServiceAway knows each service by its name"
    asked_for = {job for _, query in queries() for job in re.findall(r'job=~"([^"]*)"', query)}
    assert asked_for == {"course-materials-.+"}
