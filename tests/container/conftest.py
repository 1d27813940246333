"""buildah, Debian's registry, and a base image, for the whole session."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import base

LIMIT = 60.0


@pytest.fixture(scope="session")
def base_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its name. The tests are not run where buildah is missing."""
    if missing := [name for name in ("buildah", "runc") if not shutil.which(name)]:
        pytest.skip(f"not run: needs {' and '.join(missing)} (apt-get install)")
    return base.build(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a registry on loopback that lets everybody in."""
    if not shutil.which("docker-registry"):
        pytest.skip("not run: needs docker-registry (apt-get install)")
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "config.yml").write_text(
        f"version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        wait_for_port(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def project(tmp_path: Path, base_image: str) -> Path:
    """A folder with a pipeline whose image needs nothing of others but the SDK."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "livepeer.yaml").write_text(
        f"pipeline: pipeline:Shout\npython: {{version: '{base.VERSION}'}}\nbase: {base_image}\n"
        f"prepare: true\n"
    )
    return tmp_path


PIPELINE = '''
from livepeer.runner import Pipeline


class Shout(Pipeline):
    """Say it louder."""

    version = "1.0.0"
    capacity = 2

    @classmethod
    def prepare_models(cls) -> None:
        (cls.model_dir / "weights").write_text("loud")

    def setup(self) -> None:
        self.mark = (self.model_dir / "weights").read_text()

    def predict(self, text: str) -> str:
        return f"{text.upper()} {self.mark}"
'''
