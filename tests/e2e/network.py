"""The three parts of the network: an orchestrator, containers, and a client of this process."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .processes import Process

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"


@dataclass
class Container:
    """A served pipeline."""

    process: Process
    capability: str
    url: str
    app: str | None = None
    """What live runners call it."""

    def name(self, road: str) -> str:
        """What its callers ask for, by BYOC or as a live runner."""
        assert self.app is not None
        return self.capability if road == "byoc" else self.app


@dataclass
class Network:
    """An orchestrator over TLS and the containers that joined it, each a process."""

    secret: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    processes: list[Process] = field(default_factory=list)
    url: str = ""

    def orchestrator(self, port: int = 0) -> Process:
        process = self._start(
            "orchestrator",
            HERE / "orchestrator.py",
            "--port",
            str(port),
            env={"LIVEPEER_ORCH_SECRET": self.secret},
            cwd=HERE,
        )
        self.url = json.loads(process.find(r"^\{.*\}$").group())["url"]
        return process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def serve(
        self,
        program: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        registered: bool = True,
        app: str | None = None,
    ) -> Container:
        """Start a pipeline's file as its author does, and wait until the orchestrator has it; in
        both registries where there is an `app`."""
        both = {"LIVEPEER_REGISTRATION": "both", "LIVEPEER_APP": app} if app else {}
        process = self._start(
            program.parent.name,
            program,
            *arguments,
            cwd=program.parent,
            env={
                "HOST": "127.0.0.1",
                "PORT": "0",
                "LIVEPEER_ORCH_URL": self.url,
                "LIVEPEER_ORCH_SECRET": self.secret,
                "LIVEPEER_DRAIN_TIMEOUT": "10",
                **both,
                **(env or {}),
            },
        )
        found = process.find(r"(\S+) \S+ serves on (http://\S+)")
        if registered:
            process.find(r" is registered at ", times=2 if app else 1)
        return Container(process, found[1], found[2], app)

    def _start(
        self, name: str, program: Path, *arguments: str, cwd: Path, env: Mapping[str, str]
    ) -> Process:
        process = Process(name, program, *arguments, cwd=cwd, env=env)
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End everything, containers before their orchestrator, and report what went wrong."""
        failures: list[str] = []
        for process in reversed(self.processes):
            if process.alive:
                try:
                    process.stop()
                except AssertionError as failure:
                    failures.append(str(failure))
        assert not failures, "; ".join(failures)
