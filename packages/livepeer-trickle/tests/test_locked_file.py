"""A file that processes share: whole or as it was, its owner's alone."""

import errno
import stat
from pathlib import Path

import pytest

from livepeer.trickle.locked_file import LockedFile


def test_what_cannot_take_its_place_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "kept.json").mkdir()
    (tmp_path / "kept.json" / "a").touch()
    with pytest.raises(OSError):
        LockedFile(tmp_path / "kept.json").replace(b"secret")
    assert [each.name for each in tmp_path.iterdir()] == ["kept.json"]


def test_it_is_replaced_whole_and_read_by_its_owner_only(tmp_path: Path) -> None:
    file = LockedFile(tmp_path / "kept.json")
    assert file.read(3) is None
    for data in (b"old", b"new"):
        with file.held():
            file.replace(data, sync=True)
    assert file.read(3) == b"new"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    file = LockedFile(tmp_path / "kept.json")
    file.replace(b"four")
    with pytest.raises(OSError) as told:
        file.read(3)
    assert told.value.errno == errno.EFBIG
