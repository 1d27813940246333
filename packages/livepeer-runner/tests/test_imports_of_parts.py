"""What the parts cost to import: settings nothing, signatures no media and no HTTP client."""

import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "av", "numpy", "fastapi", "pydantic", "PIL", "livepeer.trickle"}


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("from livepeer.runner.settings import Settings; Settings.from_env({})", set()),
        ("from livepeer.runner.author.signature import PredictSignature", {"pydantic"}),
        ("from livepeer.runner.author.files import Image; Image(b'').path()", {"pydantic"}),
        ("import livepeer.runner.author.fetch", {"pydantic"}),
        ("import livepeer.runner.live.work", HEAVY - {"aiohttp", "fastapi", "PIL"}),
        (
            "from livepeer.runner.registration import Registration",
            {"aiohttp", "livepeer.trickle"},
        ),
    ],
)
def test_an_import_brings_no_more_than_it_needs(statement: str, allowed: set[str]) -> None:
    program = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=200
    )
    assert HEAVY & set(done.stdout.split()) <= allowed
