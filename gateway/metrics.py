"""What the gateway counts: requests by route, and what is under way."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from servicekit.metrics import CALL_SECONDS

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class GatewayMetrics:
    """HTTP requests by method, route and status: of a route its template, so that there are as many as the gateway has."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.requests = Counter(
            "http_requests_total", "Requests answered.", ("method", "route", "code"), registry=registry
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Seconds from a request's head to the end of its answer; of an event stream, as long as somebody looked on.",
            ("method", "route"),
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self.under_way = Gauge("http_requests_under_way", "Requests being served.", registry=registry)
        self.most = Gauge("http_requests_max", "The most that are served at once.", registry=registry)
        self.uploads = Gauge("materials_http_uploads_under_way", "Uploads on their way to Ingest.", registry=registry)
        self.event_streams = Gauge("materials_event_streams", "Event streams that are open.", registry=registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request; `status` 0: its client went before there was one."""
        method = known_method(method)
        self.requests.labels(method, route, status or "none").inc()
        self.seconds.labels(method, route).observe(seconds)


def known_method(method: str) -> str:
    """The method itself, or `_OTHER`: anybody may send any."""
    return method if method in _METHODS else "_OTHER"
