"""One process per key."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.config import keylock
from meshnode.config.errors import ConfigError
from meshnode.config.keylock import KeyLock

_HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "fips.key"
    file.write_text("nsec1...\n")
    return file


def held_by_another(key: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(key)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def never(_seconds: float) -> None:
    raise AssertionError("there is nothing to wait for")


def test_a_key_that_another_process_uses_is_refused_with_one_line_that_names_it(key: Path) -> None:
    other, pauses = held_by_another(key), list[float]()
    with pytest.raises(ConfigError) as refusal:
        KeyLock(key).take(pauses.append)
    other.communicate("")
    # On layered file systems the kernel calls the file by another device, and so nobody is named.
    assert str(refusal.value).replace(f" (pid {other.pid})", "") == (
        f"Failed to resolve identity: another process runs a node with the key in {key}; stop it, or "
        "give this node a key of its own (meshctl keygen)"
    )
    assert sum(pauses) == pytest.approx(keylock.PATIENCE_SECS)


def test_a_process_that_is_just_stopping_is_waited_for(key: Path) -> None:
    other = held_by_another(key)
    lock = KeyLock(key)
    assert lock.take(lambda _: other.communicate("")) is None
    lock.release()


def test_a_killed_process_leaves_no_lock(key: Path) -> None:
    other = held_by_another(key)
    other.kill()
    other.communicate()
    lock = KeyLock(key)
    assert lock.take(never) is None
    lock.release()


def test_a_released_key_can_be_had(key: Path) -> None:
    first, second = KeyLock(key), KeyLock(key)
    assert first.take(never) is None
    first.release()
    first.release()
    assert second.take(never) is None
    second.release()


def test_a_copy_of_the_process_that_runs_something_else_does_not_hold_it(key: Path) -> None:
    """Hooks and helpers outlive a node that was killed."""
    lock = KeyLock(key)
    assert lock.take(never) is None
    helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    assert KeyLock(key).take(never) is None
    helper.communicate(b"")


def test_a_file_that_may_only_be_read_is_locked_all_the_same(key: Path) -> None:
    key.chmod(0o400)
    lock = KeyLock(key)
    assert lock.take(never) is None
    with pytest.raises(ConfigError):
        KeyLock(key).take(lambda _: None)
    lock.release()


def test_where_no_lock_is_possible_a_line_says_so(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = key.with_name("gone")
    said = (
        f"{gone} cannot be locked (No such file or directory (os error 2)): nothing prevents a second node with its key"
    )
    assert KeyLock(gone).take(never) == said

    def refuse(descriptor: int, _operation: int) -> None:
        refused.append(descriptor)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    refused: list[int] = []
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "cannot be locked" in str(KeyLock(key).take(never))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(refused[0])
