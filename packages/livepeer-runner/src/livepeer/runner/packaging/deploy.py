"""What an operator pastes to run a published image, pinned to its digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

Form = Literal["docker", "compose", "kubernetes"]
FORMS: tuple[Form, ...] = ("docker", "compose", "kubernetes")

ORCHESTRATOR = "https://ORCHESTRATOR:8935"
SECRET = "THE-ORCHESTRATORS-SECRET"
DRAIN_SECONDS = 45
"""More than `LIVEPEER_DRAIN_TIMEOUT`, after which a container ends by itself."""
_PORT = 8000


@dataclass(frozen=True, slots=True)
class Deployment:
    """An image, as it is run. `image` has a digest; `name` is the pipeline's."""

    image: str
    name: str
    gpu: bool = False

    def text(self, form: Form) -> str:
        """The lines for one kind of operator."""
        match form:
            case "docker":
                return self._docker()
            case "compose":
                secret = {"orch_secret": {"file": "./orch_secret.txt"}}
                return _yaml({"services": {self.name: self._service()}, "secrets": secret})
            case "kubernetes":
                return _yaml(self._kubernetes())

    def _docker(self) -> str:
        gpu = " --gpus all" if self.gpu else ""
        return (
            f"docker run -d --restart unless-stopped{gpu} -p {_PORT}:{_PORT} \\\n"
            f"  --read-only --tmpfs /tmp --stop-timeout {DRAIN_SECONDS} \\\n"
            f"  -e LIVEPEER_ORCH_URL={ORCHESTRATOR} \\\n"
            f"  -e LIVEPEER_ORCH_SECRET={SECRET} \\\n"
            f"  {self.image}\n"
        )

    def _service(self) -> dict[str, Any]:
        service: dict[str, Any] = {
            "image": self.image,
            "restart": "unless-stopped",
            "read_only": True,
            "tmpfs": ["/tmp"],
            "stop_grace_period": f"{DRAIN_SECONDS}s",
            "ports": [f"{_PORT}:{_PORT}"],
            "environment": {"LIVEPEER_ORCH_URL": ORCHESTRATOR},
            "secrets": ["orch_secret"],
        }
        service["environment"]["LIVEPEER_ORCH_SECRET_FILE"] = "/run/secrets/orch_secret"
        if self.gpu:
            device = {"driver": "nvidia", "count": 1, "capabilities": ["gpu", "video"]}
            service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
        return service

    def _kubernetes(self) -> dict[str, Any]:
        probe = {"periodSeconds": 10, "timeoutSeconds": 5}
        secret = {"secretKeyRef": {"name": "livepeer-orchestrator", "key": "secret"}}
        container: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "ports": [{"containerPort": _PORT}],
            "env": [
                {"name": "LIVEPEER_ORCH_URL", "value": ORCHESTRATOR},
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
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {
                "replicas": 1,
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


class _Plain(yaml.SafeDumper):
    """Without anchors: a person edits what is printed."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(content: dict[str, Any]) -> str:
    text: str = yaml.dump(content, Dumper=_Plain, sort_keys=False, width=120)
    return text
