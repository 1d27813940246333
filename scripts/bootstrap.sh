# Sourced by every script: puts uv on PATH and the workspace's environment in place, without root.
# A Debian machine with git and Python 3.11 or later is enough; see README.md.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD

install_uv() {
    local tools=$root/.uv
    [ -x "$tools/bin/uv" ] && return 0
    echo "uv is not on PATH: installing it into $tools" >&2
    # Three ways, as Debian splits Python: with venv, with pip alone, with neither.
    if python3 -c 'import ensurepip' 2>/dev/null && python3 -m venv "$tools" >/dev/null; then
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2 && return 0
    fi
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip install --quiet --disable-pip-version-check --prefix "$tools" uv >&2
        [ -x "$tools/local/bin/uv" ] && ln -sfn "$tools/local/bin" "$tools/bin"   # Debian's prefix scheme
        [ -x "$tools/bin/uv" ] && return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update >&2 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >&2 &&
            python3 -m venv --clear "$tools" >&2 &&
            "$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2 && return 0
    fi
    if command -v curl >/dev/null; then
        curl -LsSf https://astral.sh/uv/install.sh | env UV_INSTALL_DIR="$tools/bin" UV_NO_MODIFY_PATH=1 sh >&2 && return 0
    fi
    echo "Could not install uv. Install it (https://docs.astral.sh/uv/) or python3-venv, then run this again." >&2
    return 1
}

if ! command -v uv >/dev/null; then
    install_uv || exit 1
    export PATH="$root/.uv/bin:$PATH"
fi

export UV_PYTHON_PREFERENCE=${UV_PYTHON_PREFERENCE:-system}
uv sync --quiet --frozen --all-packages --all-extras || {
    echo "uv sync failed: see above. A damaged environment is mended by removing .venv." >&2
    exit 1
}
