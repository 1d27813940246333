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

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
NAME = f"localhost/python:{VERSION}-slim"
DEBIAN_NAME = f"localhost/debian-python:{VERSION}-slim"
PROGRAMS = "sh ls cat rm mkdir chmod chown cp mv id env uname grep sed find sleep true false tr"


def build(folder: Path, environ: Mapping[str, str]) -> str:
    """Python and a few programs, in seconds; its name. There is no apt in it."""
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
    return _commit(root, NAME, environ)


def build_debian(folder: Path, environ: Mapping[str, str]) -> str:
    """A Debian of this machine's own release and sources with the same Python, in which apt
    installs what an example needs; its name. Needs mmdebstrap, and root."""
    root = folder / "root"
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line
    )
    listed = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("debian*")]
    sources = [str(file) for file in listed if file.is_file()]
    command = ["mmdebstrap", "--quiet", "--variant=apt", release["VERSION_CODENAME"], str(root)]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    _python(root)
    _libraries(root)
    return _commit(root, DEBIAN_NAME, environ)


def _commit(root: Path, name: str, environ: Mapping[str, str]) -> str:
    """The image of a root, with this machine's way to a package index."""

    def buildah(*arguments: str) -> str:
        done = subprocess.run(
            ["buildah", *arguments], capture_output=True, text=True, check=False, env=environ
        )
        assert done.returncode == 0, f"buildah {arguments}: {done.stderr}"
        return done.stdout.strip()

    for file in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf"):
        if file.is_file():
            shutil.copyfile(file, root / "etc/pip.conf")
    certificates = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    root.chmod(0o755)
    container = buildah("from", "scratch")
    buildah("copy", "-q", container, str(root), "/")
    for setting in (
        "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LD_LIBRARY_PATH=/usr/local/lib",
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    ):
        buildah("config", "--env", setting, container)
    buildah("commit", "-q", "--format", "docker", container, name)
    buildah("rm", container)
    return name


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
    """What these programs are linked to, and what the C library loads by name, as far as the root
    has not got it."""
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
            if not (target / path.name).exists():
                shutil.copy2(os.path.realpath(path), target / path.name)
