"""The one folder that the tools may read and write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class OutsideRoot(ValueError):
    """A path that the tools have no business with; the message says what to do."""

    code = "outside_root"


@dataclass(frozen=True, slots=True)
class Root:
    """Resolves the paths that an agent names. `path` is absolute and has no symlink in it."""

    path: Path

    @classmethod
    def of(cls, given: Path) -> Root:
        """Raises `OutsideRoot` where `given` is no folder."""
        path = given.expanduser().resolve()
        if not path.is_dir():
            raise OutsideRoot(f"there is no folder {given}: --root names one that is there")
        return cls(path)

    def resolve(self, given: str, *, must_exist: bool = True) -> Path:
        """The path that is meant, absolute; symlinks are followed first, and have to end within.

        Raises `OutsideRoot`.
        """
        if "\0" in given:
            raise OutsideRoot("a path has no NUL in it")
        path = (self.path / given).resolve()
        if path != self.path and self.path not in path.parents:
            raise OutsideRoot(
                f"{given} is outside of {self.path}: the tools work within that folder alone "
                "(livepeer mcp --root names another)"
            )
        if must_exist and not path.exists():
            raise OutsideRoot(f"there is no {given} in {self.path}")
        return path

    def folder(self, given: str) -> Path:
        """Like `resolve`, for a folder. Raises `OutsideRoot`."""
        path = self.resolve(given)
        if not path.is_dir():
            raise OutsideRoot(f"{given} is no folder")
        return path

    def shown(self, path: Path) -> str:
        """A path within, as an agent names it."""
        return str(path.relative_to(self.path))

    def target(self, given: str) -> tuple[Path, str]:
        """A pipeline as the commands name it (`folder`, `pipeline.py`, `pipeline.py:Class`): the
        folder to run in, and the rest. Raises `OutsideRoot`.
        """
        name, colon, cls = given.partition(":")
        path = self.resolve(name or ".")
        if colon and not cls.isidentifier():
            raise OutsideRoot(f"{given}: what comes after the colon is a class")
        if path.is_dir():
            if colon:
                raise OutsideRoot(f"{given}: name the file, such as {name}/pipeline.py:{cls}")
            return path, "."
        return path.parent, f"{path.name}{colon}{cls}"
