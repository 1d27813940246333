# Sourced by every script: puts uv on PATH and the workspace's environment in place, without root.
# git and Python 3.11 or later are enough; see README.md.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD

install_uv() {
    local tools=$root/.uv
    [ -x "$tools/bin/uv" ] && return 0
    echo "uv is not on PATH: installing it into $tools" >&2
    # With venv where there is one. Debian splits it off, and pip as well: then pip is fetched.
    if python3 -c 'import ensurepip' 2>/dev/null && python3 -m venv "$tools" >/dev/null; then
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2 && return 0
    fi
    local pip="-m pip"
    python3 -m pip --version >/dev/null 2>&1 || pip=$(python3 scripts/fetch_pip.py "$tools") || pip=
    # shellcheck disable=SC2086 # two words
    [ -n "$pip" ] && python3 $pip install --quiet --disable-pip-version-check --target "$tools" uv >&2 && return 0
    echo "Could not install uv. Install it (https://docs.astral.sh/uv/) or python3-venv, then run this again." >&2
    return 1
}

if ! command -v uv >/dev/null; then
    install_uv || exit 1
    export PATH="$root/.uv/bin:$PATH"
fi

# A command compiles everything it imports, and takes twice as long to start, where no bytecode is kept; tests start hundreds.
unset PYTHONDONTWRITEBYTECODE

export UV_PYTHON_PREFERENCE=${UV_PYTHON_PREFERENCE:-system}
# `--compile-bytecode`: once, and not by each of the workers that tests begin with.
uv sync --quiet --frozen --compile-bytecode --all-packages --all-extras || {
    echo "uv sync failed: see above. A damaged environment is mended by removing .venv." >&2
    exit 1
}
