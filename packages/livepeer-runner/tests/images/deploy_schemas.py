"""What Kubernetes and compose take, as far as `deploy` uses it: strict, so that a field with a
mistake in its name fails.

Written by hand from the published field names (the API reference of apps/v1 Deployment; the compose
specification): the whole schemas are 20,000 lines, of which this is what a deployment has to do
with.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def record(required: str = "", **fields: Schema) -> Schema:
    """An object of these fields alone."""
    return {
        "type": "object",
        "properties": {name.rstrip("_"): schema for name, schema in fields.items()},
        "required": required.split(),
        "additionalProperties": False,
    }


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def table(values: Schema, keys: str = ".+") -> Schema:
    return {
        "type": "object",
        "patternProperties": {f"^(?:{keys})$": values},
        "additionalProperties": False,
    }


TEXT: Schema = {"type": "string", "minLength": 1}
YES: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
LABEL: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$"}
LABELS = table(LABEL)
QUANTITY: Schema = {"type": ["string", "integer"], "pattern": r"^[0-9]+(m|Ki|Mi|Gi|K|M|G)?$"}

_KEY = record("name key", name=LABEL, key=TEXT, optional=YES)
_FIELD = record("fieldPath", fieldPath=TEXT, apiVersion=TEXT)
_ENV = {
    **record(
        "name",
        name={"type": "string", "pattern": "^[A-Z_][A-Z0-9_]*$"},
        value={"type": "string"},
        valueFrom={
            **record(secretKeyRef=_KEY, configMapKeyRef=_KEY, fieldRef=_FIELD),
            "minProperties": 1,
            "maxProperties": 1,
        },
    ),
    "oneOf": [{"required": ["value"]}, {"required": ["valueFrom"]}],
}
_PROBE = record(
    "httpGet",
    httpGet=record("path port", path={"type": "string", "pattern": "^/"}, port=PORT, scheme=TEXT),
    periodSeconds=COUNT,
    timeoutSeconds=COUNT,
    failureThreshold=COUNT,
    successThreshold=COUNT,
    initialDelaySeconds=COUNT,
)
_CONTAINER = record(
    "name image",
    name=LABEL,
    image=TEXT,
    ports=array(record("containerPort", containerPort=PORT, name=LABEL, protocol=TEXT)),
    env=array(_ENV),
    readinessProbe=_PROBE,
    livenessProbe=_PROBE,
    startupProbe=_PROBE,
    resources=record(limits=table(QUANTITY), requests=table(QUANTITY)),
    securityContext=record(
        runAsNonRoot=YES,
        runAsUser=COUNT,
        readOnlyRootFilesystem=YES,
        allowPrivilegeEscalation=YES,
    ),
    volumeMounts=array(record("name mountPath", name=LABEL, mountPath=TEXT, readOnly=YES)),
)
_POD = record(
    "containers",
    containers=array(_CONTAINER),
    terminationGracePeriodSeconds=COUNT,
    volumes=array(record("name", name=LABEL, emptyDir=record(medium=TEXT, sizeLimit=QUANTITY))),
)
_METADATA = record(name=LABEL, namespace=LABEL, labels=LABELS, annotations=table(TEXT))
_ROLLING = record(maxSurge=COUNT, maxUnavailable=COUNT)

DEPLOYMENT = record(
    "apiVersion kind metadata spec",
    apiVersion={"const": "apps/v1"},
    kind={"const": "Deployment"},
    metadata={**_METADATA, "required": ["name"]},
    spec=record(
        "selector template",
        replicas=COUNT,
        strategy=record(type={"enum": ["RollingUpdate", "Recreate"]}, rollingUpdate=_ROLLING),
        selector=record("matchLabels", matchLabels=LABELS),
        template=record("metadata spec", metadata=_METADATA, spec=_POD),
    ),
)

_NAME = "[a-zA-Z0-9._-]+"
_DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(us|ms|s|m|h))+$"}
_DEVICE = {
    **record(
        "capabilities",
        driver=TEXT,
        count={"type": ["string", "integer"]},
        device_ids=array(TEXT),
        capabilities=array(TEXT),
        options=table(TEXT),
    ),
    # Docker refuses both.
    "not": {"required": ["count", "device_ids"]},
}
_SERVICE = record(
    "image",
    image=TEXT,
    command=TEXT,
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    read_only=YES,
    tmpfs=array(TEXT),
    stop_grace_period=_DURATION,
    ports=array({"type": "string", "pattern": "^[0-9]+:[0-9]+$"}),
    depends_on=array(TEXT),
    environment=table({"type": ["string", "number", "boolean", "null"]}),
    secrets=array(TEXT),
    healthcheck=record(
        test=array(TEXT),
        start_period=_DURATION,
        interval=_DURATION,
        timeout=_DURATION,
        retries=COUNT,
    ),
    deploy=record(resources=record(reservations=record(devices=array(_DEVICE)))),
)
COMPOSE = record(
    "services",
    name=TEXT,
    services=table(_SERVICE, _NAME),
    secrets=table(record(file=TEXT, environment=TEXT, external=YES), _NAME),
)
