"""Who the node is at this start, and the two files that hold it (spec 05 section 4, spec 01 section 1.5).

`fips.key` holds the nsec, `fips.pub` the npub. A throw-away key is written over the key file like any other, but an
earlier key that somebody meant to keep is first copied aside, under a name that ends in `.old`. To tell the two
apart, the npub of the last throw-away key is noted in `fips.key.ephemeral`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from meshnode.config.errors import ConfigError, os_error_text
from meshnode.config.node_sections import IdentitySection
from meshnode.files import open_regular
from meshnode.identity import Identity, IdentityError
from meshnode.paths import KEY_NAME, PUBLIC_NAME

Opener = Callable[[str, int, int], int]
"""Shaped like `os.open` with a mode; tests hand in one that fails."""

RESOLVE_CONTEXT: Final = "Failed to resolve identity: "
CREATE_CONTEXT: Final = "Failed to create node: config error: "
NOTE_NAME: Final = f"{KEY_NAME}.ephemeral"
SECRET_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
_LONGEST_KEY_FILE: Final = 4096
_IN_PLACE_ERRORS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY})
"""Reasons why a file cannot be replaced by renaming although it may still be written to."""


class IdentitySource(Enum):
    """Where an identity comes from; the value is the line operators look for in the log."""

    CONFIGURATION = "Using identity from configuration"
    KEY_FILE = "Loaded persistent identity from key file"
    GENERATED = "Generated persistent identity, saved to key file"
    EPHEMERAL = "Using ephemeral identity (new keypair each start)"


class Resolved(NamedTuple):
    """The identity of this start, its source, and what the operator should be warned about."""

    identity: Identity
    source: IdentitySource
    warnings: list[str]

    @property
    def log_line(self) -> str:
        """The line for the log that names the source."""
        return self.source.value


class KeyFiles:
    """The key files of one directory. Errors of the system come out as `OSError` unless said otherwise."""

    def __init__(self, directory: Path, opener: Opener = os.open) -> None:
        self.directory = directory
        self.key = directory / KEY_NAME
        self.public = directory / PUBLIC_NAME
        self.note = directory / NOTE_NAME
        self._open = opener

    def read_key(self) -> tuple[Identity, list[str]] | None:
        """The key in the file with warnings about the file, None when there is none.

        Raises `ConfigError` when the file is there but cannot be read, is empty or holds no key.
        """
        text, warnings = self._read_key_text()
        if text is None:
            return None
        if not text:
            raise ConfigError("identity", f"key file is empty: {self.key}", context=RESOLVE_CONTEXT)
        try:
            return Identity.parse(text), warnings
        except IdentityError as error:
            raise ConfigError("identity", f"identity error: {error} ({self.key})", context=RESOLVE_CONTEXT) from None

    def _read_key_text(self) -> tuple[str | None, list[str]]:
        try:
            with open_regular(self.key, lambda path, flags: self._open(path, flags, 0)) as stream:
                mode = os.fstat(stream.fileno()).st_mode
                content = stream.read(_LONGEST_KEY_FILE)
            return content.decode().strip(), self._mode_warnings(mode)
        except (FileNotFoundError, NotADirectoryError):
            return None, []
        except OSError as error:
            self._unreadable(os_error_text(error))
        except UnicodeDecodeError:
            self._unreadable("stream did not contain valid UTF-8")

    def _unreadable(self, reason: str) -> NoReturn:
        raise ConfigError("read", f"failed to read config file {self.key}: {reason}", context=RESOLVE_CONTEXT)

    def _mode_warnings(self, mode: int) -> list[str]:
        warnings = []
        if self.key.is_symlink():
            warnings.append(f"{self.key} is a symlink; the mode of the file it points to is left alone")
        if stat.S_IMODE(mode) & 0o077:
            warnings.append(
                f"{self.key} can be used by others (mode {stat.S_IMODE(mode):04o}); make it 0600 with chmod"
            )
        return warnings

    def key_is_there(self) -> bool:
        """Whether anything, be it a symlink to nowhere, stands at the path of the key file."""
        return os.path.lexists(self.key)

    def write(self, identity: Identity) -> None:
        """Make the directory and write both files."""
        self.write_secret(identity)
        self.write_public(identity)

    def write_secret(self, identity: Identity) -> None:
        """Make the directory and write the key file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_secret(self.key, f"{identity.nsec}\n")

    def write_public(self, identity: Identity) -> None:
        """Write the public file; the mode of an existing one is left alone."""
        _refuse_symlink(self.public)
        self._fill(self.public, f"{identity.npub}\n", PUBLIC_MODE, force_mode=False)

    def _write_secret(self, target: Path, text: str) -> None:
        """Replace `target` in one step where the directory allows it, else write into it."""
        _refuse_symlink(target)
        draft = target.with_name(f"{target.name}.new")
        try:
            draft.unlink(missing_ok=True)
            self._fill(draft, text, SECRET_MODE, force_mode=True, flags=os.O_EXCL)
            os.replace(draft, target)
        except OSError as error:
            _discard(draft)
            if error.errno not in _IN_PLACE_ERRORS:
                raise
            self._fill(target, text, SECRET_MODE, force_mode=True)

    def _fill(self, target: Path, text: str, mode: int, *, force_mode: bool, flags: int = 0) -> None:
        flags |= os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(target, "w", opener=lambda path, _: self._open(path, flags, mode)) as stream:
            if force_mode:
                os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            _settle(stream.fileno())

    def set_aside(self) -> Path | None:
        """Copy a key that is not a throw-away one to a file of its own; returns that file, None if there was no need.

        What stands in the key file and is no key is not worth keeping.
        """
        try:
            found = self.read_key()
        except ConfigError:
            return None
        if found is None or self._noted() == found[0].npub:
            return None
        copy = self.key.with_name(f"{KEY_NAME}.{found[0].npub[:16]}.old")
        self._write_secret(copy, f"{found[0].nsec}\n")
        return copy

    def _noted(self) -> str | None:
        try:
            return self.note.read_text("ascii", "replace").strip()
        except OSError:
            return None

    def note_throw_away(self, identity: Identity) -> None:
        """Remember that the key in the key file is of one start only."""
        _refuse_symlink(self.note)
        self._fill(self.note, f"{identity.npub}\n", PUBLIC_MODE, force_mode=False)

    def forget_note(self) -> None:
        """The key in the key file is one to keep from now on."""
        _discard(self.note)


def _refuse_symlink(target: Path) -> None:
    if target.is_symlink():
        raise OSError(errno.ELOOP, f"refusing to write key file through a symlink: {target}")


def _discard(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return


def _settle(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _write_failure(target: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP and error.strerror and error.strerror.startswith("refusing"):
        return error.strerror
    return f"failed to write key file {target}: {os_error_text(error)}"


def resolve_identity(
    section: IdentitySection,
    directory: Path,
    entropy: Callable[[int], bytes],
    opener: Opener = os.open,
) -> Resolved:
    """Find or make the identity of this start by the table of spec 05 section 4.

    `directory` holds the key files (`paths.key_directory`). Raises `ConfigError` for an nsec or a key file that is
    there and cannot be used; trouble in writing is only warned about.
    """
    if section.nsec is not None:
        return Resolved(_from_configuration(section.nsec), IdentitySource.CONFIGURATION, [])
    files = KeyFiles(directory, opener)
    if section.persistent:
        return _persistent(files, entropy)
    return _ephemeral(files, entropy)


def _from_configuration(nsec: str) -> Identity:
    try:
        return Identity.parse(nsec)
    except IdentityError as error:
        reason = f"identity error: {error} (node.identity.nsec)"
        raise ConfigError("identity", reason, context=CREATE_CONTEXT) from None


def _persistent(files: KeyFiles, entropy: Callable[[int], bytes]) -> Resolved:
    found = files.read_key()
    if found is None:
        return _generated(files, entropy)
    identity, warnings = found
    files.forget_note()
    return Resolved(identity, IdentitySource.KEY_FILE, [*warnings, *_public_written(files, identity)])


def _generated(files: KeyFiles, entropy: Callable[[int], bytes]) -> Resolved:
    identity = Identity.generate(entropy)
    try:
        files.write_secret(identity)
    except OSError as error:
        warning = f"{_write_failure(files.key, error)}; the npub changes at every start until this is mended"
        return Resolved(identity, IdentitySource.EPHEMERAL, [warning])
    files.forget_note()
    return Resolved(identity, IdentitySource.GENERATED, _public_written(files, identity))


def _public_written(files: KeyFiles, identity: Identity) -> list[str]:
    """Write the public file, without which a node with its key lacks nothing; returns the warnings."""
    try:
        files.write_public(identity)
    except OSError as error:
        return [_write_failure(files.public, error)]
    return []


def _ephemeral(files: KeyFiles, entropy: Callable[[int], bytes]) -> Resolved:
    identity = Identity.generate(entropy)
    warnings = []
    try:
        if files.key_is_there():
            warnings.append(
                f"{files.key} is replaced by the key of this start; set node.identity.persistent: true to keep a key"
            )
            if copy := files.set_aside():
                warnings.append(f"the key that was in {files.key} is kept in {copy}")
        files.write(identity)
        files.note_throw_away(identity)
    except OSError as error:
        warnings.append(_write_failure(files.key, error))
    return Resolved(identity, IdentitySource.EPHEMERAL, warnings)


def write_keypair(directory: Path, identity: Identity, *, force: bool, opener: Opener = os.open) -> Path | None:
    """Write both key files for `meshctl keygen`; returns the copy of a replaced key, None when there was none to keep.

    Raises `ConfigError` when a key file is there and `force` is not given, and when writing fails.
    """
    files = KeyFiles(directory, opener)
    if files.key_is_there() and not force:
        raise ConfigError("policy", f"{files.key} exists already; use --force to replace it")
    try:
        copy = files.set_aside()
        files.write(identity)
    except OSError as error:
        raise ConfigError("policy", _write_failure(files.key, error)) from None
    files.forget_note()
    return copy
