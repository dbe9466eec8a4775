"""Files that cannot be replaced are written in place, and keep what they said when there is no room."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from meshnode.files import write_whole

BEFORE = "nameserver 192.0.2.1\n"
LONG = BEFORE * 5


class Stubborn:
    """A file that cannot be replaced; `room` is how long files can get from the moment on in which that turns out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.room: int | None = None
        path.write_text(BEFORE)

    def refuse(self, number: int) -> None:
        if self.room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        raise OSError(number, os.strerror(number))


@pytest.fixture(params=["a mount point", "in a read-only directory"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubborn:
    file = Stubborn(tmp_path / "resolv.conf")
    plain = os.open

    def guarded(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_EXCL:
            file.refuse(errno.EROFS)
        return plain(path, flags, *arguments, **options)

    if request.param == "a mount point":
        monkeypatch.setattr(os, "replace", lambda source, target: file.refuse(errno.EBUSY))
    else:
        monkeypatch.setattr(os, "open", guarded)
    return file


@pytest.mark.parametrize("text", ["", "nameserver 127.0.0.1\n", LONG])
def test_the_file_says_what_was_written_and_nothing_else(file: Stubborn, text: str) -> None:
    write_whole(file.path, text)
    assert file.path.read_text() == text
    assert [entry.name for entry in file.path.parent.iterdir()] == ["resolv.conf"]


def test_without_room_the_file_says_what_it_said_before(file: Stubborn) -> None:
    file.room = len(BEFORE) + 10
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(file.path, LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # before pytest writes to what may be a file
    assert file.path.read_text() == BEFORE
    assert [entry.name for entry in file.path.parent.iterdir()] == ["resolv.conf"]
