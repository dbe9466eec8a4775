"""Who the node is: every row of the table, and what happens to files that are in the way or cannot be written."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from meshnode.config.errors import ConfigError
from meshnode.config.keyfile import IdentitySource, Opener, Resolved, resolve_identity, write_keypair
from meshnode.config.node_sections import IdentitySection
from meshnode.identity import Identity

NSEC = "nsec1akmjfnywu8eyq5807v8nkvmm2js4dugs25jyt77el6u88vsmsuwqcyekmx"
NPUB = "npub1p4exqj0zntdfjfhluv99m6grmw7j6c4wn246j7cazdmvqu03h2pqplu2d3"
HEX = "edb724cc8ee1f24050eff30f3b337b54a156f110552445fbd9feb873b21b871c"
EXAMPLE = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"


class Directory:
    """A directory of key files and the ways to start in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key, self.public = path / "fips.key", path / "fips.pub"
        self._random = random.Random(7)

    def resolve(self, *, nsec: str | None = None, persistent: bool = False, opener: Opener = os.open) -> Resolved:
        section = IdentitySection(nsec=nsec, persistent=persistent)
        return resolve_identity(section, self.path, self._random.randbytes, opener)

    def refusal(self, **options: object) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            self.resolve(**options)  # type: ignore[arg-type]
        return caught.value

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir())

    def asides(self) -> list[Path]:
        return sorted(self.path.glob("*.old"))

    def set_key(self, text: str = f"{NSEC}\n", mode: int = 0o600) -> None:
        self.key.write_text(text)
        self.key.chmod(mode)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    path = tmp_path / "keys"
    path.mkdir()
    return Directory(path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failing(number: int, only: Callable[[str, int], bool] = lambda path, flags: bool(flags & os.O_WRONLY)) -> Opener:
    """An `os.open` on a system that refuses the chosen opens with error `number`."""

    def opener(path: str, flags: int, mode: int) -> int:
        if only(path, flags):
            raise OSError(number, os.strerror(number), path)
        return os.open(path, flags, mode)

    return opener


def full_disk(path: str, flags: int, mode: int) -> int:
    if not flags & os.O_WRONLY:
        return os.open(path, flags, mode)
    os.close(os.open(path, flags, mode))
    return os.open("/dev/full", os.O_WRONLY)


# --- the secret key in the configuration


@pytest.mark.parametrize("nsec", [NSEC, HEX, HEX.upper()])
def test_a_configured_key_is_used_and_no_file_is_touched(directory: Directory, nsec: str) -> None:
    directory.set_key("something else\n")
    resolved = directory.resolve(nsec=nsec, persistent=True)
    assert (resolved.identity.npub, resolved.source) == (NPUB, IdentitySource.CONFIGURATION)
    assert resolved.log_line == "Using identity from configuration"
    assert directory.names() == ["fips.key"]
    assert directory.key.read_text() == "something else\n"


@pytest.mark.parametrize(
    "nsec", ["", HEX[1:], f"0x{HEX}", f" {NSEC} ", NSEC.upper(), NPUB, NSEC[:-1] + "q", "0" * 64, "f" * 64]
)
def test_a_configured_key_that_is_none_is_fatal_and_not_shown(directory: Directory, nsec: str) -> None:
    error = directory.refusal(nsec=nsec)
    assert error.problem == "identity"
    assert str(error).startswith("Failed to create node: config error: identity error: ")
    assert not nsec or nsec not in str(error)


def test_the_example_key_of_the_specification(directory: Directory) -> None:
    directory.set_key(f"{EXAMPLE}\n")
    from_file = directory.resolve(persistent=True).identity
    assert directory.resolve(nsec=EXAMPLE).identity.npub == from_file.npub


# --- a persistent key


def test_without_a_key_file_a_key_is_made_and_kept(directory: Directory) -> None:
    directory.path.rmdir()
    resolved = directory.resolve(persistent=True)
    assert resolved.log_line == "Generated persistent identity, saved to key file"
    assert resolved.warnings == []
    assert directory.key.read_text() == f"{resolved.identity.nsec}\n"
    assert directory.public.read_text() == f"{resolved.identity.npub}\n"
    assert (mode_of(directory.key), mode_of(directory.public)) == (0o600, 0o644)
    assert directory.names() == ["fips.key", "fips.pub"]
    assert directory.resolve(persistent=True).identity.npub == resolved.identity.npub


@pytest.mark.parametrize("text", [f"{NSEC}\n", f"  {HEX}\n\n", NSEC])
def test_a_key_file_is_read_and_the_public_file_rewritten(directory: Directory, text: str) -> None:
    directory.set_key(text)
    directory.public.write_text("old, and longer than any npub by far: " + "x" * 80)
    directory.public.chmod(0o640)
    resolved = directory.resolve(persistent=True)
    assert (resolved.identity.npub, resolved.log_line) == (NPUB, "Loaded persistent identity from key file")
    assert resolved.warnings == []
    assert directory.key.read_text() == text
    assert (directory.public.read_text(), mode_of(directory.public)) == (f"{NPUB}\n", 0o640)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b" \n", "Failed to resolve identity: key file is empty: "),
        (b"", "Failed to resolve identity: key file is empty: "),
        (b"hello\n", "Failed to resolve identity: identity error: "),
        (b"\xff\xfe", "Failed to resolve identity: failed to read config file "),
    ],
)
def test_a_key_file_without_a_key_is_fatal(directory: Directory, content: bytes, text: str) -> None:
    directory.key.write_bytes(content)
    error = directory.refusal(persistent=True)
    assert str(error).startswith(text)
    assert str(directory.key) in str(error)
    assert directory.key.read_bytes() == content


def test_a_directory_in_the_place_of_the_key_file_is_fatal(directory: Directory) -> None:
    directory.key.mkdir()
    assert str(directory.refusal(persistent=True)).endswith("Is a directory (os error 21)")


def test_a_pipe_in_the_place_of_the_key_file_is_fatal_and_not_waited_for(directory: Directory) -> None:
    os.mkfifo(directory.key)
    assert str(directory.refusal(persistent=True)).endswith("fips.key: it is not a regular file")


def test_a_key_file_that_may_not_be_read_is_fatal(directory: Directory) -> None:
    directory.set_key()
    refused = failing(errno.EACCES, lambda path, flags: path.endswith("fips.key"))
    error = directory.refusal(persistent=True, opener=refused)
    assert (error.problem, str(error).endswith("Permission denied (os error 13)")) == ("read", True)


def test_a_key_file_open_to_others_is_used_with_a_warning(directory: Directory) -> None:
    directory.set_key(mode=0o644)
    resolved = directory.resolve(persistent=True)
    assert resolved.identity.npub == NPUB
    (warning,) = resolved.warnings
    assert "0644" in warning
    assert mode_of(directory.key) == 0o644


def test_a_key_file_behind_a_symlink_is_used_with_a_warning(directory: Directory) -> None:
    real = directory.path / "real"
    real.write_text(NSEC)
    real.chmod(0o600)
    directory.key.symlink_to("real")
    resolved = directory.resolve(persistent=True)
    assert (resolved.identity.npub, len(resolved.warnings)) == (NPUB, 1)
    assert "symlink" in resolved.warnings[0]


def test_a_public_file_that_cannot_be_written_is_only_a_warning(directory: Directory) -> None:
    directory.set_key()
    directory.public.symlink_to("elsewhere")
    resolved = directory.resolve(persistent=True)
    assert resolved.source is IdentitySource.KEY_FILE
    assert resolved.warnings == [f"refusing to write key file through a symlink: {directory.public}"]
    assert not (directory.path / "elsewhere").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_new_key_that_cannot_be_saved_is_used_for_this_start(directory: Directory, number: int) -> None:
    resolved = directory.resolve(persistent=True, opener=failing(number))
    assert resolved.source is IdentitySource.EPHEMERAL
    (warning,) = resolved.warnings
    assert f"(os error {number})" in warning
    assert "changes at every start" in warning
    assert directory.names() == []


def test_a_new_key_is_kept_although_its_public_file_cannot_be_written(directory: Directory) -> None:
    directory.public.mkdir()
    resolved = directory.resolve(persistent=True)
    assert resolved.source is IdentitySource.GENERATED
    assert resolved.warnings == [f"failed to write key file {directory.public}: Is a directory (os error 21)"]
    assert directory.resolve(persistent=True).identity.npub == resolved.identity.npub


def test_a_directory_that_cannot_be_made_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    resolved = Directory(tmp_path / "file" / "keys").resolve(persistent=True)
    assert (resolved.source, len(resolved.warnings)) == (IdentitySource.EPHEMERAL, 1)


def test_a_dangling_symlink_is_not_written_through(directory: Directory) -> None:
    directory.key.symlink_to("nowhere")
    resolved = directory.resolve(persistent=True)
    assert resolved.source is IdentitySource.EPHEMERAL
    assert resolved.warnings[0].startswith(f"refusing to write key file through a symlink: {directory.key}")
    assert not (directory.path / "nowhere").exists()


# --- a key for this start only


def test_an_ephemeral_start_writes_both_files(directory: Directory) -> None:
    resolved = directory.resolve()
    assert resolved.log_line == "Using ephemeral identity (new keypair each start)"
    assert resolved.warnings == []
    assert directory.key.read_text() == f"{resolved.identity.nsec}\n"
    assert directory.public.read_text() == f"{resolved.identity.npub}\n"
    assert mode_of(directory.key) == 0o600


def test_an_ephemeral_start_keeps_a_valued_key_aside(directory: Directory) -> None:
    directory.set_key(mode=0o644)
    resolved = directory.resolve()
    assert len(resolved.warnings) == 2
    assert "persistent: true" in resolved.warnings[0]
    (aside,) = directory.asides()
    assert (aside.read_text(), mode_of(aside)) == (f"{NSEC}\n", 0o600)
    assert str(aside) in resolved.warnings[1]
    assert mode_of(directory.key) == 0o600


def test_many_ephemeral_starts_keep_only_the_valued_key(directory: Directory) -> None:
    directory.set_key()
    identities = {directory.resolve().identity.npub for _ in range(5)}
    assert len(identities) == 5
    assert len(directory.asides()) == 1
    assert directory.names() == sorted(["fips.key", "fips.pub", "fips.key.ephemeral", directory.asides()[0].name])


def test_a_throw_away_key_that_was_adopted_is_kept_aside_later(directory: Directory) -> None:
    adopted = directory.resolve().identity
    assert directory.resolve(persistent=True).identity.npub == adopted.npub
    directory.resolve()
    (aside,) = directory.asides()
    assert aside.read_text() == f"{adopted.nsec}\n"


def test_a_valued_key_is_not_destroyed_when_it_cannot_be_copied(directory: Directory) -> None:
    directory.set_key()
    full = failing(errno.ENOSPC, lambda path, flags: ".old" in path)
    resolved = directory.resolve(opener=full)
    assert resolved.source is IdentitySource.EPHEMERAL
    assert "os error 28" in resolved.warnings[-1]
    assert directory.key.read_text() == f"{NSEC}\n"


def test_a_full_disk_leaves_the_old_key_and_no_draft(directory: Directory) -> None:
    directory.set_key()
    resolved = directory.resolve(opener=full_disk)
    assert "os error 28" in resolved.warnings[-1]
    assert directory.key.read_text() == f"{NSEC}\n"
    assert directory.names() == ["fips.key"]


def test_garbage_in_the_key_file_is_replaced(directory: Directory) -> None:
    directory.set_key("hello\n")
    resolved = directory.resolve()
    assert len(resolved.warnings) == 1
    assert directory.key.read_text() == f"{resolved.identity.nsec}\n"
    assert directory.asides() == []


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_cannot_be_replaced_is_left_and_warned_about(directory: Directory, make: Callable[[Path], None]) -> None:
    make(directory.key)
    resolved = directory.resolve()
    assert resolved.source is IdentitySource.EPHEMERAL
    assert len(resolved.warnings) == 2
    assert directory.names() == ["fips.key"]


def test_a_file_in_a_directory_that_takes_no_new_one_is_written_in_place(directory: Directory) -> None:
    directory.set_key("hello\n", mode=0o644)
    before = directory.key.stat().st_ino
    mounted = failing(errno.EACCES, lambda path, flags: path.endswith(".new"))
    resolved = directory.resolve(opener=mounted)
    assert directory.key.read_text() == f"{resolved.identity.nsec}\n"
    assert (directory.key.stat().st_ino, mode_of(directory.key)) == (before, 0o600)


@pytest.mark.parametrize("in_place", [False, True])
def test_the_mode_is_set_before_the_key_is_written(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    directory.set_key("hello\n", mode=0o666)
    seen: list[int] = []
    written: list[int] = []
    fchmod = os.fchmod

    def protect(descriptor: int, mode: int) -> None:
        written.append(os.fstat(descriptor).st_size)
        fchmod(descriptor, mode)

    def watching(path: str, flags: int, mode: int) -> int:
        if path.endswith(".new") and in_place:
            raise OSError(errno.EBUSY, "busy", path)
        if path.endswith(("fips.key", ".new")) and flags & os.O_WRONLY:
            assert flags & os.O_NOFOLLOW
            seen.append(mode)
        return os.open(path, flags, mode)

    monkeypatch.setattr(os, "fchmod", protect)
    directory.resolve(opener=watching)
    assert set(seen) == {0o600}
    assert set(written) == {0}
    assert mode_of(directory.key) == 0o600


# --- making keys by hand


def test_a_key_pair_is_written_once(directory: Directory) -> None:
    first, second = Identity.parse(NSEC), Identity.parse(EXAMPLE)
    assert write_keypair(directory.path, first, force=False) is None
    with pytest.raises(ConfigError, match="exists already; use --force"):
        write_keypair(directory.path, second, force=False)
    assert directory.resolve(persistent=True).identity.npub == first.npub


def test_force_replaces_a_key_pair_and_keeps_the_old_key(directory: Directory) -> None:
    first, second = Identity.parse(NSEC), Identity.parse(EXAMPLE)
    write_keypair(directory.path, first, force=False)
    copy = write_keypair(directory.path, second, force=True)
    assert copy is not None
    assert copy.read_text() == f"{NSEC}\n"
    assert directory.public.read_text() == f"{second.npub}\n"


def test_a_key_made_by_hand_is_no_throw_away_key(directory: Directory) -> None:
    directory.resolve()
    made = Identity.parse(NSEC)
    assert write_keypair(directory.path, made, force=True) is None
    directory.resolve()
    assert [aside.read_text() for aside in directory.asides()] == [f"{NSEC}\n"]


def test_a_key_pair_that_cannot_be_written_is_an_error(directory: Directory) -> None:
    directory.key.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        write_keypair(directory.path, Identity.parse(NSEC), force=False)
    with pytest.raises(ConfigError, match="refusing to write key file through a symlink"):
        write_keypair(directory.path, Identity.parse(NSEC), force=True)
    directory.key.unlink()
    with pytest.raises(ConfigError, match=r"failed to write key file .* \(os error 30\)"):
        write_keypair(directory.path, Identity.parse(NSEC), force=False, opener=failing(errno.EROFS))
