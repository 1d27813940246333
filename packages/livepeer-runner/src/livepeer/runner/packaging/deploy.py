"""What an operator pastes to run a published image, pinned to its digest.

`docs/operators.md` shows the same text: a test compares them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml

from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.live_runner.record import static_entry

Form = Literal["docker", "compose", "kubernetes", "runners.json"]
FORMS: tuple[Form, ...] = ("docker", "compose", "kubernetes", "runners.json")

ORCHESTRATOR: Final = "https://ORCHESTRATOR:8935"
SECRET: Final = "THE-ORCHESTRATORS-SECRET"
HOST: Final = "THIS-HOST"
"""Where the orchestrator reaches the machine that runs the containers."""
OWNER: Final = "OWNER"
"""The first part of the app's id, which is the operator's or the author's."""
MOST: Final = 64
"""Containers on one machine, each with a port of its own."""
DRAIN_SECONDS: Final = 45
"""More than `LIVEPEER_DRAIN_TIMEOUT`, after which a container ends by itself."""
_PORT: Final = 8000


@dataclass(frozen=True, slots=True)
class Deployment:
    """An image, as it is run: by `replicas` containers, each with a GPU of its own where it needs
    one. `image` is `registry/repository@sha256:...`; `name`, `live` (called in sessions), `version`
    and `capacity` are the pipeline's.

    Raises `ValueError` where `replicas` is not 1 to 64.
    """

    image: str
    name: str
    gpu: bool = False
    replicas: int = 1
    live: bool = False
    version: str = ""
    capacity: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= MOST:
            raise ValueError(f"replicas are 1 to {MOST}, not {self.replicas}")

    def text(self, form: Form) -> str:
        """The lines for one kind of operator."""
        match form:
            case "docker":
                return "\n".join(self._docker(each) for each in range(self.replicas))
            case "compose":
                secret = {"orch_secret": {"file": "./orch_secret.txt"}}
                services = {self._named(each): self._service(each) for each in range(self.replicas)}
                return _yaml({"services": services, "secrets": secret})
            case "kubernetes":
                return _yaml(self._kubernetes())
            case "runners.json":
                entries = [self._static(each) for each in range(self.replicas)]
                return json.dumps({"runners": entries}, indent=2) + "\n"

    @property
    def told_image(self) -> str:
        """The image as callers may ask for it: its registry is no part of that."""
        return self.image.partition("/")[2]

    def _named(self, number: int) -> str:
        return self.name if self.replicas == 1 else f"{self.name}-{number}"

    def _environment(self, url: str) -> dict[str, str]:
        """All but the secret. Containers of one app need ids of their own, which live runners have;
        under one BYOC name they would replace each other."""
        return {
            "LIVEPEER_ORCH_URL": ORCHESTRATOR,
            "LIVEPEER_REGISTRATION": "live-runner",
            "LIVEPEER_APP": f"{OWNER}/{self.name}",
            "LIVEPEER_CAPABILITY_URL": url,
            "LIVEPEER_IMAGE": self.told_image,
        }

    def _static(self, number: int) -> dict[str, Any]:
        """For a container that is run without an orchestrator's address: it is listed by hand."""
        capability = Capability(
            self.name,
            f"http://{HOST}:{_PORT + number}",
            self.capacity,
            app=f"{OWNER}/{self.name}",
            app_version=self.version,
            mode="persistent" if self.live else "single-shot",
        )
        return static_entry(capability, self._named(number), told={"image": self.told_image})

    def _docker(self, number: int) -> str:
        port = _PORT + number
        gpus = "all" if self.replicas == 1 else f"device={number}"
        gpu = f" --gpus {gpus}" if self.gpu else ""
        variables = self._environment(f"http://{HOST}:{port}") | {"LIVEPEER_ORCH_SECRET": SECRET}
        lines = "".join(f"  -e {name}={value} \\\n" for name, value in variables.items())
        return (
            f"docker run -d --restart unless-stopped{gpu} -p {port}:{_PORT} \\\n"
            f"  --read-only --tmpfs /tmp --stop-timeout {DRAIN_SECONDS} \\\n"
            f"{lines}"
            f"  {self.image}\n"
        )

    def _service(self, number: int) -> dict[str, Any]:
        port = _PORT + number
        environment = self._environment(f"http://{HOST}:{port}")
        environment["LIVEPEER_ORCH_SECRET_FILE"] = "/run/secrets/orch_secret"
        service: dict[str, Any] = {
            "image": self.image,
            "restart": "unless-stopped",
            "read_only": True,
            "tmpfs": ["/tmp"],
            "stop_grace_period": f"{DRAIN_SECONDS}s",
            "ports": [f"{port}:{_PORT}"],
            "environment": environment,
            "secrets": ["orch_secret"],
        }
        if self.gpu:
            which = {"count": 1} if self.replicas == 1 else {"device_ids": [str(number)]}
            device = {"driver": "nvidia", **which, "capabilities": ["gpu", "video"]}
            service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
        return service

    def _kubernetes(self) -> dict[str, Any]:
        probe = {"periodSeconds": 10, "timeoutSeconds": 5}
        secret = {"secretKeyRef": {"name": "livepeer-orchestrator", "key": "secret"}}
        variables = self._environment(f"http://$(POD_IP):{_PORT}")
        container: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "ports": [{"containerPort": _PORT}],
            "env": [
                # Before the variable that names it.
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                *({"name": name, "value": value} for name, value in variables.items()),
                {"name": "LIVEPEER_ORCH_SECRET", "valueFrom": secret},
            ],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": _PORT}, **probe},
            "livenessProbe": {
                "httpGet": {"path": "/health", "port": _PORT},
                **probe,
                "failureThreshold": 6,
            },
            "securityContext": {
                "runAsNonRoot": True,
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
            },
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        if self.gpu:
            container["resources"] = {"limits": {"nvidia.com/gpu": 1}}
        labels = {"app": self.name}
        # No GPU may be left for one more than there are.
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "replicas": self.replicas,
                **({"strategy": rolling} if self.gpu else {}),
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": DRAIN_SECONDS,
                        "containers": [container],
                        "volumes": [{"name": "tmp", "emptyDir": {}}],
                    },
                },
            },
        }


class _WithoutAnchors(yaml.SafeDumper):
    """Without anchors: a person edits what is printed."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(content: dict[str, Any]) -> str:
    text: str = yaml.dump(content, Dumper=_WithoutAnchors, sort_keys=False, width=120)
    return text
