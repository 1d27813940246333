"""A pipeline is found by what the author would write, and what is wrong is said in his terms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from livepeer.runner.packaging.load import LoadError, load, locate

ONE = """
    from livepeer.runner import Pipeline
    class {name}(Pipeline):
        def predict(self, x: int) -> int: return x
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that is the present one; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


def put(path: Path, source: str, **values: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source).format(**values) if values else dedent(source))
    return path


@pytest.mark.parametrize(
    "target",
    ["mine.py", "mine.py:Mine", "mine:Mine", "mine", "./mine.py", "livepeer.yaml", ".", None],
)
def test_a_class_is_found_by_each_way_to_name_it(here: Path, target: str | None) -> None:
    put(here / "mine.py", ONE, name="Mine")
    (here / "livepeer.yaml").write_text("pipeline: mine:Mine\n")
    assert load(target).__name__ == "Mine"


def test_without_a_manifest_pipeline_py_is_taken(here: Path) -> None:
    put(here / "pipeline.py", ONE, name="Mine")
    assert load(None).__name__ == "Mine"


def test_a_manifest_elsewhere_is_followed_from_its_own_folder(here: Path) -> None:
    put(here / "deep" / "code" / "mine.py", ONE, name="Mine")
    (here / "deep" / "livepeer.yaml").write_text("pipeline: code.mine:Mine\n")
    assert load("deep").__name__ == "Mine"
    assert locate("deep").folder == here / "deep"


def test_two_files_of_the_same_name_are_two_modules(here: Path) -> None:
    put(here / "a" / "pipeline.py", ONE, name="A")
    put(here / "b" / "pipeline.py", ONE, name="B")
    first, second = load("a/pipeline.py"), load("b/pipeline.py")
    assert (first.__name__, second.__name__) == ("A", "B")
    assert load("a") is first
    assert load("b") is second


def test_hints_that_are_texts_resolve_in_a_file_whose_name_is_taken(here: Path) -> None:
    put(here / "a" / "pipeline.py", ONE, name="A")
    put(
        here / "b" / "pipeline.py",
        """
        from __future__ import annotations
        from pydantic import BaseModel
        from livepeer.runner import Pipeline
        class In(BaseModel):
            x: int
        class B(Pipeline):
            def predict(self, request: In) -> In: return request
        """,
    )
    load("a")
    from livepeer.runner.author.signature import PredictSignature

    assert PredictSignature.of(load("b")).input_model.__name__ == "In"


def test_a_file_may_import_its_neighbours(here: Path) -> None:
    put(here / "sub" / "neighbour_of_mine.py", "NAME = 'mine'")
    put(
        here / "sub" / "mine.py",
        """
        from livepeer.runner import Pipeline
        import neighbour_of_mine
        class Mine(Pipeline):
            pipeline_id = neighbour_of_mine.NAME
            def predict(self) -> int: return 1
        """,
    )
    assert load("sub/mine.py").pipeline_id == "mine"


def test_a_file_in_a_package_may_import_relatively(here: Path) -> None:
    put(here / "my_package" / "__init__.py", "")
    put(here / "my_package" / "names.py", "NAME = 'mine'")
    put(
        here / "my_package" / "mine.py",
        """
        from livepeer.runner import Pipeline
        from .names import NAME
        class Mine(Pipeline):
            pipeline_id = NAME
            def predict(self) -> int: return 1
        """,
    )
    assert load("my_package/mine.py").pipeline_id == "mine"


def test_a_base_class_of_the_author_is_no_choice(here: Path) -> None:
    put(
        here / "mine.py",
        """
        from livepeer.runner import Pipeline
        class Base(Pipeline):
            pass
        class Mine(Base):
            def predict(self) -> int: return 1
        """,
    )
    assert load("mine.py").__name__ == "Mine"


def test_an_imported_class_is_taken_where_there_is_no_other(here: Path) -> None:
    put(here / "mine.py", ONE, name="Mine")
    put(here / "entry.py", "from mine import Mine")
    assert load("entry.py").__name__ == "Mine"


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        ("mine.py", ONE.format(name="A") + ONE.format(name="B"), ["mine.py:A", "mine.py:B"]),
        ("mine.py:C", ONE.format(name="A"), ["C is not in it", "it has A"]),
        ("mine.py:X", "X = 1", ["X is not a Pipeline"]),
        ("mine.py", "X = 1", ["holds no pipeline", "class Name(Pipeline)"]),
        ("mine.py", "import no_such_package_here", ["'no_such_package_here'", "not installed"]),
        ("mine.py", "raise SystemExit(3)", ["SystemExit: 3"]),
        ("other.py", "", ["there is no file other.py"]),
        ("other:X", "", ["there is no module 'other'"]),
        (None, "", ["livepeer.yaml", "pipeline.py", "livepeer init"]),
        ("other.yaml", "", ["there is no file other.yaml"]),
    ],
)
def test_what_cannot_be_had_is_explained(
    here: Path, target: str | None, source: str, words: list[str]
) -> None:
    put(here / "mine.py", source)
    with pytest.raises(LoadError) as caught:
        load(target)
    for word in words:
        assert word in str(caught.value)


def test_an_error_in_the_authors_code_is_shown_from_his_file_on(here: Path) -> None:
    put(
        here / "mine.py",
        """
        def begin():
            return 1 / 0
        begin()
        """,
    )
    with pytest.raises(LoadError) as caught:
        load("mine.py")
    assert "ZeroDivisionError" in str(caught.value)
    assert caught.value.trace.count("File ") == 2
    assert "importlib" not in caught.value.trace
    assert "load.py" not in caught.value.trace


def test_a_syntax_error_is_shown_with_its_line(here: Path) -> None:
    put(here / "mine.py", "def (")
    with pytest.raises(LoadError) as caught:
        load("mine.py")
    assert 'mine.py", line 1' in caught.value.trace
    assert caught.value.trace.count("File ") == 1


def test_a_file_that_failed_can_be_loaded_once_it_is_right(here: Path) -> None:
    put(here / "a" / "pipeline.py", ONE, name="A")
    load("a")
    file = put(here / "b" / "pipeline.py", "1 / 0")
    with pytest.raises(LoadError):
        load("b")
    put(file, ONE, name="B")
    assert load("b").__name__ == "B"


def test_what_is_missing_is_told_with_the_requirements_that_bring_it(here: Path) -> None:
    put(here / "mine.py", "import no_such_package_here")
    (here / "requirements.txt").write_text("no-such-package-here\n")
    with pytest.raises(LoadError, match=r"pip install -r .*requirements\.txt"):
        load("mine.py")
