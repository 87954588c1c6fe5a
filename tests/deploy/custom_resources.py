"""Of the custom resources in the manifests, the fields that we rely on: an unknown or missing one is an error here, though a cluster might let it pass."""

from __future__ import annotations

from typing import Any

NAMES = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}


def _closed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


_METADATA = {"type": "object", "required": ["name", "namespace"]}
_POLICY = _closed({"type": {"enum": ["Pods", "Percent"]}, "value": COUNT, "periodSeconds": COUNT})
_RULES = _closed({"stabilizationWindowSeconds": {"type": "integer", "minimum": 0}, "policies": _list(_POLICY)})
#: KEDA takes the metadata of a trigger as strings.
_JETSTREAM = _closed(
    {"natsServerMonitoringEndpoint": NAMES, "account": NAMES, "stream": NAMES, "consumer": NAMES}
    | {"lagThreshold": {"type": "string", "pattern": "^[1-9][0-9]*$"}},
    {"useHttps": {"enum": ["true", "false"]}},
)
_CPU = _closed({"value": {"type": "string", "pattern": "^[1-9][0-9]*$"}})


def _trigger(kind: str, metric_type: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return _closed({"type": {"const": kind}, "metricType": {"const": metric_type}, "metadata": metadata})


_JETSTREAM_TRIGGER = _trigger("nats-jetstream", "AverageValue", _JETSTREAM)
#: Gateway API's own format (GEP-2257).
_DURATION = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}

SCHEMAS: dict[tuple[str, str], dict[str, Any]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _closed(
        {
            "apiVersion": NAMES,
            "kind": NAMES,
            "metadata": _METADATA,
            "spec": _closed(
                {
                    "scaleTargetRef": _closed({"name": NAMES}),
                    "minReplicaCount": COUNT,
                    "maxReplicaCount": COUNT,
                    "pollingInterval": COUNT,
                    "fallback": _closed(
                        {"failureThreshold": COUNT, "replicas": COUNT},
                        {"behavior": {"enum": ["static", "currentReplicas", "currentReplicasIfHigher"]}},
                    ),
                    "advanced": _closed(
                        {
                            "horizontalPodAutoscalerConfig": _closed(
                                {"behavior": _closed({"scaleUp": _RULES, "scaleDown": _RULES})}
                            )
                        }
                    ),
                    # A fallback is for triggers of type AverageValue, and there must be one.
                    "triggers": {
                        **_list({"anyOf": [_trigger("cpu", "Utilization", _CPU), _JETSTREAM_TRIGGER]}),
                        "contains": _JETSTREAM_TRIGGER,
                    },
                }
            ),
        }
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _closed(
        {
            "apiVersion": NAMES,
            "kind": NAMES,
            "metadata": _METADATA,
            "spec": _closed(
                {
                    "parentRefs": _list(_closed({"name": NAMES}, {"namespace": NAMES, "sectionName": NAMES})),
                    "hostnames": _list(NAMES),
                    "rules": _list(
                        _closed(
                            {
                                "backendRefs": _list(_closed({"name": NAMES, "port": COUNT})),
                                "timeouts": _closed({"request": _DURATION, "backendRequest": _DURATION}),
                                "matches": _list(
                                    _closed(
                                        {
                                            "path": _closed(
                                                {
                                                    "type": {"enum": ["PathPrefix", "Exact"]},
                                                    "value": {"type": "string", "pattern": "^/"},
                                                }
                                            )
                                        }
                                    )
                                ),
                            }
                        )
                    ),
                }
            ),
        }
    ),
}
