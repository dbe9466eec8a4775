"""Where files lie (spec 05 sections 3.2, 4 and 9; spec 07 sections 7 and 8). The environment is always handed in.

The node, the gateway and the command line tools all ask here; so it imports nothing that takes long to load.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final


def settings_root(platform: str = sys.platform) -> Path:
    """Below which directory this system keeps the settings of what was installed later than itself."""
    return Path("/usr/local/etc" if platform == "darwin" or platform.startswith("freebsd") else "/etc")


SYSTEM_DIRECTORY: Final = settings_root() / "fips"
"""Shared with the reference daemon."""
OWN_DIRECTORY: Final = settings_root() / "meshnode"
"""Where our packages configure: removing the reference daemon's package empties the other one, keys included."""
CONFIG_NAME: Final = "fips.yaml"
KEY_NAME: Final = "fips.key"
PUBLIC_NAME: Final = "fips.pub"
HOSTS_NAME: Final = "hosts"
ALLOW_FILE: Final = SYSTEM_DIRECTORY / "peers.allow"
DENY_FILE: Final = SYSTEM_DIRECTORY / "peers.deny"
RULES_DIRECTORY: Final = SYSTEM_DIRECTORY / "fips.d"
CONTROL_SOCKET: Final = "control.sock"
GATEWAY_SOCKET: Final = "gateway.sock"
NATIVE_API_SOCKET: Final = "api.sock"
RUN_DIRECTORY: Final = "/run/fips"

Environment = Mapping[str, str]


def account_home() -> str | None:
    """Home directory of the running user by the account database."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def machine_directory(own: Path = OWN_DIRECTORY, shared: Path = SYSTEM_DIRECTORY) -> Path:
    """Where this machine's configuration lies: our own directory once it holds one, else the shared one."""
    return own if os.path.exists(own / CONFIG_NAME) else shared


def companion_directory(loaded: list[Path], own: Path = OWN_DIRECTORY, shared: Path = SYSTEM_DIRECTORY) -> Path:
    """Where hosts, access lists and firewall rules lie unless the configuration, read from `loaded`, says otherwise.

    They are the machine's: a user's file laid over that of the machine leaves them where they are.
    """
    return own if any(file.parent == own for file in loaded) else shared


def search_list(
    environment: Environment,
    system: Path = SYSTEM_DIRECTORY,
    home_of_account: Callable[[], str | None] = account_home,
) -> list[Path]:
    """Configuration files looked for without `-c`, lowest priority first; the last one is relative."""
    home = environment.get("HOME") or home_of_account()
    user = environment.get("XDG_CONFIG_HOME", "")
    files = [directory / CONFIG_NAME for directory in _system_directories(system)]
    if os.path.isabs(user):
        files.append(Path(user) / "fips" / CONFIG_NAME)
    elif home:
        files.append(Path(home) / ".config" / "fips" / CONFIG_NAME)
    if home:
        files.append(Path(home) / f".{CONFIG_NAME}")
    files.append(Path(CONFIG_NAME))
    return files


def _system_directories(system: Path) -> list[Path]:
    """macOS and FreeBSD are looked at where Linux keeps its settings, too."""
    return [settings_root("linux") / "fips", system] if system == settings_root("freebsd") / "fips" else [system]


def key_directory(loaded: list[Path], system: Path = SYSTEM_DIRECTORY) -> Path:
    """Directory of the key files: that of the last configuration file read, as it was named."""
    return loaded[-1].parent if loaded else system


def default_socket(name: str, environment: Environment, is_directory: Callable[[str], bool] = os.path.isdir) -> Path:
    """Path of a socket that the configuration does not name; only the existence of directories counts."""
    places = _socket_places(name, environment)
    return next(path for needed, path in places if needed is None or is_directory(needed))


def find_socket(
    name: str,
    environment: Environment,
    is_directory: Callable[[str], bool] = os.path.isdir,
    status: Callable[[Path], os.stat_result] = os.lstat,
) -> Path:
    """Path of the socket that a running process made by `default_socket`, perhaps when there were other directories.

    A socket elsewhere counts only where there is none at the usual place, and only one of root's or of our own account:
    anybody may make one in /tmp.
    """
    usual = default_socket(name, environment, is_directory)
    try:
        status(usual)
    except FileNotFoundError:
        return next((path for _, path in _socket_places(name, environment) if _is_ours(path, status)), usual)
    except OSError:
        pass  # it is not for us to see: whoever asks it learns why
    return usual


def _socket_places(name: str, environment: Environment) -> Iterator[tuple[str | None, Path]]:
    """Where a socket may be, best first, each with the directory that has to exist for that, if one has to."""
    yield RUN_DIRECTORY, Path(RUN_DIRECTORY) / name
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield runtime, Path(runtime) / "fips" / name
    yield None, Path("/tmp") / f"fips-{name}"


def _is_ours(path: Path, status: Callable[[Path], os.stat_result]) -> bool:
    try:
        found = status(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in (0, os.geteuid())


def socket_path(
    configured: str | None,
    name: str,
    environment: Environment,
    is_directory: Callable[[str], bool] = os.path.isdir,
) -> Path | str:
    """The configured path exactly as written, else the default one."""
    return default_socket(name, environment, is_directory) if configured is None else configured
