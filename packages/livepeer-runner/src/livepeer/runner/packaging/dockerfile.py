"""The Dockerfile of a pipeline: one that BuildKit, the legacy builder and buildah all take.

Therefore no syntax line, no heredocs, and mounts only for secrets. Layers come in the order in
which they change: base, apt, packages of others, the SDK, weights, code.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

UV = "0.13.9"
"""The version of uv that installs; it does not stay in the image."""
USER = "10001:10001"
PORT = 8000

_ENVIRONMENT = (
    "PYTHONUNBUFFERED=1",
    "PYTHONDONTWRITEBYTECODE=1",
    "PIP_ROOT_USER_ACTION=ignore",
    "HOME=/tmp",
    "LIVEPEER_MODEL_DIR=/models",
)
_HEALTH = (
    f"import os,urllib.request as r; "
    f"r.urlopen('http://127.0.0.1:'+os.environ.get('PORT','{PORT}')+'/ready',timeout=4)"
)


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What a Dockerfile says; every field of `livepeer.yaml` that has a part in it."""

    base: str
    target: str
    python: str | None = None
    """Version of Python that the packages were resolved for, where the base may have another."""
    system: tuple[str, ...] = ()
    wheels: bool = False
    """Whether the SDK comes from wheels in the context, not from the index."""
    prepare: bool = False
    gpu: bool = False
    secrets: tuple[str, ...] = ()
    """Names of environment variables that `prepare_models` gets, and no layer keeps."""


def render(plan: ImagePlan) -> str:
    """The Dockerfile; each step is preceded by the line of `livepeer.yaml` that caused it."""
    steps = [
        f"# livepeer.yaml: base\nFROM {plan.base}",
        "ENV " + " \\\n    ".join(_ENVIRONMENT),
    ]
    if plan.gpu:
        steps.append(
            "# packages with CUDA\n"
            "ENV NVIDIA_VISIBLE_DEVICES=all \\\n"
            "    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
        )
    if plan.system:
        packages = " ".join(shlex.quote(name) for name in plan.system)
        steps.append(
            "# livepeer.yaml: system.packages\n"
            "RUN apt-get update \\\n"
            " && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
            f"      {packages} \\\n"
            " && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*"
        )
    steps += [
        "# livepeer.yaml: python.requirements, python.packages\n"
        "COPY requirements.txt /opt/livepeer/requirements.txt\n"
        f"RUN {_check(plan.python)}{_install()}",
        _sdk(plan.wheels),
    ]
    if plan.prepare:
        steps.append(
            "# livepeer.yaml: prepare\n"
            "COPY prepare/ /opt/livepeer/prepare/\n"
            f"RUN {_prepare(plan.target, plan.secrets)}"
        )
    else:
        steps.append(f"RUN mkdir -p /models && chown {USER} /models")
    steps += [
        f"# livepeer.yaml: pipeline, include\nCOPY app/ /app/\nWORKDIR /app\nUSER {USER}",
        f"EXPOSE {PORT}\n"
        "STOPSIGNAL SIGTERM\n"
        "HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \\\n"
        f"    CMD {_exec('python', '-c', _HEALTH)}\n"
        f"CMD {_exec('livepeer', 'serve', plan.target)}",
    ]
    return "\n\n".join(steps) + "\n"


def cause(dockerfile: str, step: str) -> str | None:
    """Which line of `livepeer.yaml` a step (`RUN apt-get update ...`) stands for.

    Builders cut and quote steps in ways of their own: it is the line that begins most like it.
    """
    wanted = _plain(step)
    best, found, comment = _ALIKE, None, None
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if line.startswith("# "):
            comment = line.removeprefix("# ")
        elif not line.strip():
            comment = None
        elif line.startswith("FROM ") and wanted.startswith("FROM "):
            return comment  # there is one, and builders write its name in full
        elif (alike := _alike(_plain(line), wanted)) > best:
            best, found = alike, comment
    return found


_ALIKE = 8
"""Characters in which unrelated steps may be alike."""


def _alike(one: str, other: str) -> int:
    """How many characters they begin with together."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _plain(step: str) -> str:
    return " ".join(step.replace("\\", " ").split())


_ADVICE = (
    (r"[Nn]o space left on device", "The engine's disk is full: remove images that nobody needs"),
    (
        r"python: (?:command )?not found|\"python\": executable file|No module named (?:'|\")?pip",
        "The base needs Python with pip: leave `base` away, or name one that has them",
    ),
    # With its number: engines repeat the step, in which the text stands without.
    (r"this base has Python \d", "Write that version as `python.version`, or name another base"),
    (
        r"(?:No such file or directory: |command |execute )'[^']*(?:gcc|g\+\+|cc|clang|make)'"
        r"|(?:gcc|g\+\+|cc|clang|make): (?:command )?not found|CMAKE_CX*_COMPILER",
        "A package is built from its source: the base needs what it is built with, such as "
        "`system: {packages: [build-essential]}`; or take a version of it that has a wheel",
    ),
    (r"apt-get: (?:command )?not found", "The base is no Debian: leave `system.packages` away"),
    (r"Unable to locate package", "The base's Debian has no package of that name"),
    (
        r"[Nn]ame resolution|Name or service not known|Could(?:n't| not) resolve|failed to lookup",
        "The build has no network: a proxy or DNS server may be missing in the engine's settings",
    ),
    (r"(?i)hash(?:es)? .*mismatch|do not match the hashes", "Ask the index anew: --no-cache"),
)


def advice(output: str) -> str | None:
    """What to do about a step that failed, by what it said."""
    return next((told for pattern, told in _ADVICE if re.search(pattern, output)), None)


_SITE = "$(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')"
_COMPILE = (
    f"python -m compileall -q -j 0 -x '/(tests|pip)/' --invalidation-mode unchecked-hash {_SITE}"
)
"""Without times in the files, so that the same build makes the same layer; not what nobody imports
in an image, which would take a third of the time."""


def _check(version: str | None) -> str:
    """That the base has the Python that the packages are for."""
    if version is None:
        return ""
    wanted = f"({version.replace('.', ', ')})"
    return (
        f"python -c 'import sys; v = sys.version_info[:2]; sys.exit(v != {wanted} and "
        f'"this base has Python %d.%d, python.version is {version}" % v)\' \\\n && '
    )


def _install() -> str:
    """Install by uv, of which nothing is left in the layer."""
    return (
        f"python -m pip install --quiet --no-cache-dir --no-compile --target /tmp/uv uv=={UV} \\\n"
        " && PYTHONPATH=/tmp/uv python -m uv pip install --system --no-cache --no-deps \\\n"
        "      --require-hashes -r /opt/livepeer/requirements.txt \\\n"
        f" && {_COMPILE} \\\n"
        " && rm -rf /tmp/uv /tmp/.cache /tmp/.local /root/.cache"
    )


def _sdk(wheels: bool) -> str:
    """By pip, which is in the image anyway: two packages, and none of others."""
    lines = ["# the SDK", "COPY sdk.txt /opt/livepeer/sdk.txt"]
    source = ""
    if wheels:
        lines.append("COPY wheels/ /opt/livepeer/wheels/")
        source = "--no-index --find-links /opt/livepeer/wheels "
    lines.append(
        "RUN python -m pip install --quiet --no-cache-dir --no-compile --no-deps \\\n"
        f"      --require-hashes {source}-r /opt/livepeer/sdk.txt \\\n"
        f" && {_COMPILE}/livepeer"
    )
    return "\n".join(lines)


def _prepare(target: str, secrets: Sequence[str]) -> str:
    mounts = "".join(f"--mount=type=secret,id={name} " for name in secrets)
    given = "".join(f'{name}="$(cat /run/secrets/{name})" ' for name in secrets)
    there = "".join(f"test -s /run/secrets/{name} && " for name in secrets)
    return (
        f"{mounts}{there}mkdir -p /models && cd /opt/livepeer/prepare \\\n"
        f" && {given}livepeer prepare {shlex.quote(target)} \\\n"
        " && chmod -R a+rX /models && rm -rf /tmp/.cache /tmp/.local"
    )


def _exec(*arguments: str) -> str:
    return json.dumps(arguments)
