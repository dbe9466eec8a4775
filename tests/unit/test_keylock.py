"""One process per key."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from meshnode.config import keylock
from meshnode.config.errors import ConfigError
from meshnode.config.keylock import KeyLock
from meshnode.config.keyname import KeyName
from meshnode.identity import Identity
from meshnode.operator_files import KEY_WATCH_SECS, WatchedKey

_HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"


OURS = Identity.generate(os.urandom)  # names of keys are shared with whatever runs beside this


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "fips.key"
    file.write_text(f"{OURS.nsec}\n")
    return file


def lock_of(file: Path) -> KeyLock:
    return KeyLock(file, OURS)


def replace(key: Path, text: str) -> None:
    """Put another file in its place, as editors do."""
    draft = key.with_name("draft")
    draft.write_text(text)
    draft.rename(key)


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
        lock_of(key).take(pauses.append)
    other.communicate("")
    # On layered file systems the kernel calls the file by another device, and so nobody is named.
    assert str(refusal.value).replace(f" (pid {other.pid})", "") == (
        f"Failed to resolve identity: another process runs a node with the key in {key}; stop it, or "
        "give this node a key of its own (meshctl keygen)"
    )
    assert sum(pauses) == pytest.approx(keylock.PATIENCE_SECS)


def test_a_process_that_is_just_stopping_is_waited_for(key: Path) -> None:
    other = held_by_another(key)
    lock = lock_of(key)
    assert lock.take(lambda _: other.communicate("")) is None
    lock.release()


def test_a_killed_process_leaves_no_lock(key: Path) -> None:
    other = held_by_another(key)
    other.kill()
    other.communicate()
    lock = lock_of(key)
    assert lock.take(never) is None
    lock.release()


def test_a_released_key_can_be_had(key: Path) -> None:
    first, second = lock_of(key), lock_of(key)
    assert first.take(never) is None
    first.release()
    first.release()
    assert second.take(never) is None
    second.release()


def test_a_copy_of_the_process_that_runs_something_else_does_not_hold_it(key: Path) -> None:
    """Hooks and helpers outlive a node that was killed."""
    lock = lock_of(key)
    assert lock.take(never) is None
    helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    again = lock_of(key)
    assert again.take(never) is None
    again.release()
    helper.communicate(b"")


def test_a_file_that_may_only_be_read_is_locked_all_the_same(key: Path) -> None:
    key.chmod(0o400)
    lock = lock_of(key)
    assert lock.take(never) is None
    with pytest.raises(ConfigError):
        lock_of(key).take(lambda _: None)
    lock.release()


def test_where_no_lock_is_possible_a_line_says_so(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = key.with_name("gone")
    said = (
        f"{gone} cannot be locked (No such file or directory (os error 2)): nothing prevents a second node with its key"
    )
    assert lock_of(gone).take(never) == said

    def refuse(descriptor: int, _operation: int) -> None:
        refused.append(descriptor)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    refused: list[int] = []
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "cannot be locked" in str(lock_of(key).take(never))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(refused[0])


# -- whatever happens to the file

_RUN = """
import sys
from pathlib import Path
from meshnode.config.errors import ConfigError
from meshnode.config.keylock import KeyLock
from meshnode.identity import Identity
from meshnode.operator_files import KEY_WATCH_SECS, WatchedKey
lock = KeyLock(Path(sys.argv[1]), Identity.parse(sys.argv[2]))
try:
    lock.take(lambda _: None)
except ConfigError as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    input()
"""


def another_node(key: Path, *prefix: str) -> subprocess.Popen[str]:
    """A process that holds our key as a node does, or prints why it does not."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", _RUN, str(key), OURS.nsec],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("deed", ["replaced", "removed", "copied", "written anew"])
def test_whatever_becomes_of_the_file_a_second_process_is_refused(key: Path, deed: str) -> None:
    lock = lock_of(key)
    assert lock.take(never) is None
    text, elsewhere = key.read_text(), key
    if deed == "replaced":
        replace(key, text)
    elif deed == "copied":
        elsewhere = key.with_name("copy")
        elsewhere.write_text(text)
    else:
        key.unlink()
        if deed == "written anew":
            key.write_text(text)
    second = another_node(elsewhere)
    assert f"another process (pid {os.getpid()}) runs a node with the key" in first_line(second)
    second.communicate("")
    lock.release()
    third = another_node(elsewhere)
    assert first_line(third) == "held"
    third.communicate("")


def test_a_file_put_in_place_of_ours_is_locked_as_well(key: Path) -> None:
    """Which holds on another host that shares the file, or in another network namespace."""
    lock = lock_of(key)
    assert lock.take(never) is None
    replace(key, f"node: {{identity: {{nsec: {OURS.secret.hex().upper()}}}}}")
    assert lock.look() is None
    assert not can_be_locked(key)
    lock.release()
    assert can_be_locked(key)


def can_be_locked(key: Path) -> bool:
    with key.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_rival_that_locked_the_new_file_first_is_told_of_once(key: Path) -> None:
    lock = lock_of(key)
    assert lock.take(never) is None
    replace(key, OURS.nsec)
    other = held_by_another(key)
    said = str(lock.look()).replace(f" (pid {other.pid})", "")
    assert said == f"another process runs a node with our key, in the {key} that was put in place of ours"
    assert lock.look() is None
    other.communicate("")
    replace(key, OURS.nsec)
    assert lock.look() is None
    assert not can_be_locked(key)
    lock.release()


def test_a_running_node_notices_a_new_file_and_says_who_else_uses_the_key(key: Path) -> None:
    clock, lines = Clock(), list[tuple[str, str, str]]()
    watched = WatchedKey(lock_of(key), clock, lambda *line: lines.append(line))
    watched.take()
    watched.watch()
    replace(key, OURS.nsec)
    clock.advance(KEY_WATCH_SECS)
    assert not can_be_locked(key)
    replace(key, OURS.nsec)
    other = held_by_another(key)
    clock.pump([KEY_WATCH_SECS] * 3)
    ((level, text, subsystem),) = lines
    assert (level, subsystem) == ("error", "config")
    assert text.endswith("put in place of ours: each takes the other's links and sessions away; stop one")
    other.communicate("")
    watched.release()
    assert not clock.getDelayedCalls()


def test_a_file_with_another_key_is_left_to_whose_it_is(key: Path) -> None:
    lock = lock_of(key)
    assert lock.take(never) is None
    replace(key, Identity.generate(os.urandom).nsec)
    assert lock.look() is None
    assert can_be_locked(key)
    key.unlink()
    assert lock.look() is None
    lock.release()


def test_looking_leaves_no_descriptor_behind(key: Path) -> None:
    lock = lock_of(key)
    assert lock.take(never) is None
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        replace(key, OURS.nsec)
        assert lock.look() is None
    for _ in range(300):
        with pytest.raises(ConfigError):
            lock_of(key).take(lambda _: None)
        lock.look()
    assert len(os.listdir("/proc/self/fd")) == before
    lock.release()


def test_who_has_not_the_key_cannot_keep_a_node_from_starting_by_its_name(key: Path) -> None:
    """The name is on display while a node runs; a process of another user that takes it later counts for nothing."""
    name = KeyName(OURS.secret)
    assert name.take({os.geteuid()}) is None
    assert KeyName(OURS.secret).take({os.geteuid() + 1}) is None
    holder = KeyName(OURS.secret).take({os.geteuid()})
    assert holder is not None
    assert holder.pid == os.getpid()
    name.release()
    squatter = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    squatter.bind(name._address)  # and does not listen
    lock = lock_of(key)
    assert lock.take(never) is None
    lock.release()
    squatter.close()


def test_the_name_tells_nothing_of_the_key() -> None:
    name = KeyName(OURS.secret)._address
    for told in (OURS.secret, OURS.secret.hex().encode(), OURS.nsec.encode(), OURS.npub.encode()):
        assert told[:16] not in name
