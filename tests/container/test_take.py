"""One take: an empty folder, the wheels, a class, a published image, a container, a call.

`scripts/take` prints it as it goes: each command, what it said, and its seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .base_image import VERSION
from .conftest import LocalRegistry
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PACKAGES = ("livepeer-trickle", "livepeer-runner", "livepeer-client")
SECRET = "taken"
LINES = (
    ("pipeline.py", "Tell whether a text is positive or negative", "Tell how a text feels"),
    ("pipeline.py", '"hate": -1}', '"hate": -1, "fun": 1}'),
)
"""Two of the three lines that are changed; the third names the image."""


class Take:
    """Prints commands as they are run, and adds their seconds up."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder, self.environ = folder, environ
        self.seconds = 0.0

    def __call__(self, command: str, *, folder: str = "") -> str:
        print(f"\n$ {command}", flush=True)
        started = time.monotonic()
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder / folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        taken = time.monotonic() - started
        self.seconds += taken
        print(f"{done.stderr}{done.stdout}[{taken:.1f} s]", flush=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.timeout(600)
def test_from_an_empty_folder_to_a_call(
    buildah: Lane, base_image: str, registry: LocalRegistry, tmp_path: Path, unused_tcp_port: int
) -> None:
    wheels = tmp_path / "wheels"
    for name in PACKAGES:
        command = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(wheels)]
        subprocess.run([*command, str(ROOT / "packages" / name)], check=True)
    (folder := tmp_path / "empty").mkdir()
    take = Take(folder, {**buildah.environ, "LIVEPEER_PINS": str(tmp_path / "pins.json")})
    take.environ["PATH"] = f"{folder}/venv/bin:{take.environ['PATH']}"
    take.environ.pop("VIRTUAL_ENV", None)
    take(f"uv venv -q --python {sys.executable} venv")
    wanted = "'livepeer-runner[dev]' livepeer-client"
    take(f"uv pip install -q --python venv --find-links {wheels} {wanted}")
    installed, take.seconds = take.seconds, 0.0

    take("livepeer init hello")
    image = f"{registry.host}/me/hello-livepeer-runner"
    for file, old, new in LINES:
        take(f"sed -i 's/{old}/{new}/' {file}", folder="hello")
    # What is python:3.12-slim elsewhere is an image of this machine's own Python here.
    lines = f"image: {image}\nbase: {base_image}\n"
    yaml = folder / "hello" / "livepeer.yaml"
    yaml.write_text(yaml.read_text().replace('"3.12"', f'"{VERSION}"'))
    take(f"printf '{lines}' >> livepeer.yaml".replace("\n", "\\n"), folder="hello")
    pushed = json.loads(
        take(f"livepeer push --engine buildah --sdk {wheels}", folder="hello").splitlines()[-1]
    )

    orchestrator = subprocess.Popen(
        [str(folder / "venv/bin/python"), str(ROOT / "tests/e2e/orchestrator.py")],
        env={**take.environ, "LIVEPEER_ORCH_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    name = f"livepeer-take-{os.getpid()}"
    try:
        assert orchestrator.stdout is not None
        url = json.loads(orchestrator.stdout.readline())["url"]
        take(
            f"podman run -d --tls-verify=false --name {name} --network host --read-only"
            f" --tmpfs /tmp -e PORT={unused_tcp_port} -e LIVEPEER_ORCH_URL={url}"
            f" -e LIVEPEER_ORCH_SECRET={SECRET} {pushed['reference']}"
        )
        take(f"until podman logs {name} 2>&1 | grep 'is registered at'; do sleep 0.1; done")
        told = take(f"livepeer run hello -i text='this is fun' --orch {url} --tls pin")
        assert json.loads(told)["label"] == "positive"
        take(f"podman stop -t 45 {name}")
    finally:
        buildah.call("rm", "-f", "-i", name)
        orchestrator.terminate()
        orchestrator.communicate(timeout=20)
    print(f"\n{installed:.1f} s to install, {take.seconds:.1f} s from `livepeer init` to the end")
