"""Runs pytest in each folder that it is given, each in a fork of a process that has the imports.

`pytests.py FOLDER...` writes `pytest.txt` into each: what pytest printed, and its exit status.
"""

import os
import sys

import httpx  # noqa: F401
import numpy  # noqa: F401
import pytest

from livepeer.runner import create_app, serve  # noqa: F401
from livepeer.runner.testing import client, doctor, run_live  # noqa: F401
from livepeer.trickle.media import decode, encode  # noqa: F401


def main() -> None:
    for folder in sys.argv[1:]:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        os.chdir(folder)
        sys.path.insert(0, folder)
        output = os.open("pytest.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        # Its own settings, or none: what stands in a folder above is another's.
        own = "pytest.ini" if os.path.exists("pytest.ini") else os.devnull
        arguments = ["-q", "-p", "pytest_asyncio.plugin", "-rxX", "--rootdir", folder, "-c", own]
        status = pytest.main(
            [*arguments, "--override-ini=asyncio_default_fixture_loop_scope=function"]
        )
        print(f"exit {int(status)}", flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
