"""Packages of an index that the author names are found in the image too."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from livepeer.runner.packaging import requirements
from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.requirements import RequirementsError

NAME = "livepeer-only-here"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


def wheel(folder: Path, name: str, version: str) -> Path:
    """One module, which needs nothing."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    told = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{module}.py", "")
        file.writestr(f"{info}/METADATA", told)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A simple index on loopback with one package, that no other has."""
    (folder := tmp_path / "index" / NAME).mkdir(parents=True)
    made = wheel(folder, NAME, "1.0")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    (folder / "index.html").write_text(f"<a href='{made.name}#sha256={digest}'>{made.name}</a>")
    handler = functools.partial(Quiet, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text("from livepeer.runner import Pipeline\n")
    (folder / "livepeer.yaml").write_text(
        "pipeline: pipeline:X\npython: {requirements: requirements.txt}\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--extra-index-url {}", "-i {}"])
def test_an_index_of_the_authors_is_named_in_the_image(
    project: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    (project / "requirements.txt").write_text(f"{option.format(index)}\n{NAME}\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)  # the one of this machine is not asked
    sdk = wheel(tmp_path, "livepeer-runner", metadata.version("livepeer-runner"))
    locked = requirements.lock(Project.find(str(project)), [sdk], platform="linux/amd64")
    assert locked.from_source is None and locked.others.count(index) == 1
    (tmp_path / "locked.txt").write_text(locked.others)
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    place = tmp_path / "installed"
    # As the image's step does, where nothing else is known.
    command = [*requirements.uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--no-config", "--target", str(place), "-r", str(tmp_path / "locked.txt")]
    subprocess.run(command, check=True, timeout=60)
    assert (place / "livepeer_only_here.py").is_file()


@pytest.mark.parametrize(
    "url", ["https://me:secret@index.example/simple", "https://${TOKEN}.example/"]
)
def test_an_index_with_a_password_is_refused_without_its_password(project: Path, url: str) -> None:
    (project / "requirements.txt").write_text(f"--extra-index-url {url}\nnumpy\n")
    with pytest.raises(RequirementsError, match="a layer of the image would keep") as caught:
        requirements.lock(Project.find(str(project)), [], platform="linux/amd64")
    assert "secret" not in str(caught.value)
