"""What is imported when: the root is lazy, and batch work needs neither av nor numpy."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import livepeer.runner


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_root_imports_no_framework() -> None:
    heavy = ["fastapi", "starlette", "uvicorn", "pydantic", "aiohttp", "av", "numpy"]
    code = f"import sys, livepeer.runner; print([n for n in {heavy} if n in sys.modules])"
    assert run(code) == "[]"


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    for name in livepeer.runner.__all__:
        assert getattr(livepeer.runner, name) is not None
    assert dir(livepeer.runner) == sorted(livepeer.runner.__all__)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    assert not hasattr(livepeer.runner, "Nothing")


def test_serve_is_the_function_whatever_was_imported_before() -> None:
    assert (
        run(
            """
        import livepeer.runner.serving.server
        from livepeer.runner import serve
        print(callable(serve))
        """
        )
        == "True"
    )


def test_what_serves_needs_no_framework_beside_starlette() -> None:
    """FastAPI is for authors who mount the app, aiohttp for who registers: half the start."""
    heavy = {
        "fastapi",
        "aiohttp",
        "typer",
        "rich",
        "av",
        "numpy",
        "httpx",
        "livepeer.trickle.media",
    }
    code = f"""
        import sys
        from livepeer.runner import LivePipeline, Pipeline, serve
        print({heavy} & set(sys.modules), len(sys.modules) < 430)
    """
    assert run(code) == "set() True"


def test_serving_a_batch_pipeline_imports_neither_av_nor_numpy() -> None:
    assert (
        run(
            """
        import sys
        from livepeer.runner import Image, Pipeline
        from livepeer.runner.testing import client

        class Echo(Pipeline):
            def predict(self, text: str, image: Image | None = None) -> str:
                return text

        with client(Echo) as echo:
            assert echo.predict(text="a") == "a"
            echo.get("/openapi.json").raise_for_status()
        print([name for name in ("av", "numpy", "torch", "PIL") if name in sys.modules])
        """
        )
        == "[]"
    )
