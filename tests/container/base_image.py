"""A base image made from the Python that runs the tests: no public registry is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

NAME = f"localhost/python:{sys.version_info.major}.{sys.version_info.minor}-slim"
PROGRAMS = "sh ls cat rm mkdir chmod chown cp mv id env uname grep sed find sleep true false tr"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def build(folder: Path, environ: Mapping[str, str]) -> str:
    """Build it with buildah; its name."""

    def buildah(*arguments: str) -> str:
        done = subprocess.run(
            ["buildah", *arguments], capture_output=True, text=True, check=False, env=environ
        )
        assert done.returncode == 0, f"buildah {arguments}: {done.stderr}"
        return done.stdout.strip()

    root = folder / "root"
    for name in ("usr/local/bin", "usr/local/lib", "etc/ssl/certs", "bin", "lib64", "root", "run"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o1777)
    _python(root)
    for program in PROGRAMS.split():
        if found := shutil.which(program):
            shutil.copy2(os.path.realpath(found), root / "bin" / program)
    _libraries(root)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    for file in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf"):
        if file.is_file():
            shutil.copyfile(file, root / "etc/pip.conf")
    certificates = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    shutil.copyfile(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    root.chmod(0o755)
    container = buildah("from", "scratch")
    buildah("copy", "-q", container, str(root), "/")
    for setting in (
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH=/usr/local/lib",
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    ):
        buildah("config", "--env", setting, container)
    buildah("commit", "-q", "--format", "docker", container, NAME)
    buildah("rm", container)
    return NAME


def _python(root: Path) -> None:
    """The interpreter with its standard library, and pip."""
    library = root / "usr/local/lib" / f"python{VERSION}"
    unused = shutil.ignore_patterns("test", "idlelib", "tkinter", "__pycache__", "*-packages")
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=unused, symlinks=True)
    program = root / "usr/local/bin" / f"python{VERSION}"
    shutil.copy2(os.path.realpath(sys.executable), program)
    for name in ("python", "python3"):
        (program.parent / name).symlink_to(program.name)
    shared = sysconfig.get_config_var("INSTSONAME")
    place = Path(sysconfig.get_config_var("LIBDIR")) / str(shared)
    if place.is_file() and sysconfig.get_config_var("Py_ENABLE_SHARED"):
        shutil.copy2(place, root / "usr/local/lib" / place.name)
    # pip as a wheel of ensurepip's, or as it is installed here.
    site = library / "site-packages"
    site.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), "pip"]
        if _has_pip()
        else ["uv", "pip", "install", "--quiet", "--target", str(site), "pip"],
        check=True,
    )


def _has_pip() -> bool:
    return subprocess.run([sys.executable, "-m", "pip", "-V"], capture_output=True).returncode == 0


def _libraries(root: Path) -> None:
    """What these programs are linked to, and what the C library loads by name."""
    binaries = [*root.glob("bin/*"), *root.glob("usr/local/bin/*"), *root.rglob("*.so")]
    listed = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, check=False
    ).stdout
    needed = {Path(path) for path in re.findall(r"(/\S+\.so\S*)", listed)}
    folder = next(path.parent for path in needed if path.name.startswith("libc.so"))
    loaded = (
        "libnss_dns libnss_files libresolv libstdc++ libgcc_s libpthread librt libdl libutil libm "
        "libmvec libz"
    )
    for name in loaded.split():
        needed.update(folder.glob(f"{name}.so*"))
    for path in needed:
        if path.is_file() and not path.is_relative_to(root):
            target = root / ("lib64" if path.name.startswith("ld-linux") else str(folder)[1:])
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.path.realpath(path), target / path.name)
