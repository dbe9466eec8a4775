"""Where files are looked for depends on nothing but what is handed in."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.paths import (
    CONTROL_SOCKET,
    GATEWAY_SOCKET,
    account_home,
    companion_directory,
    default_socket,
    find_socket,
    key_directory,
    machine_directory,
    search_list,
    settings_root,
    socket_path,
)


def names(environment: dict[str, str], home: str | None = "/home/account") -> list[str]:
    return [str(path) for path in search_list(environment, home_of_account=lambda: home)]


def test_the_search_list_from_lowest_to_highest() -> None:
    assert names({"HOME": "/h"}) == [
        "/etc/fips/fips.yaml",
        "/h/.config/fips/fips.yaml",
        "/h/.fips.yaml",
        "fips.yaml",
    ]


def test_a_user_directory_of_configurations_replaces_the_usual_one() -> None:
    assert names({"HOME": "/h", "XDG_CONFIG_HOME": "/x"})[1:3] == ["/x/fips/fips.yaml", "/h/.fips.yaml"]


@pytest.mark.parametrize(
    ("platform", "root"), [("linux", "/etc"), ("darwin", "/usr/local/etc"), ("freebsd14", "/usr/local/etc")]
)
def test_settings_lie_where_the_system_keeps_those_of_packages(platform: str, root: str) -> None:
    assert settings_root(platform) == Path(root)


def test_macos_and_freebsd_are_looked_at_where_linux_keeps_its_settings_too() -> None:
    found = search_list({"HOME": "/h"}, system=settings_root("darwin") / "fips")
    assert [str(path) for path in found[:2]] == ["/etc/fips/fips.yaml", "/usr/local/etc/fips/fips.yaml"]


def test_every_program_of_a_mac_asks_in_the_same_place() -> None:
    program = """if 1:
        import sys
        sys.platform = "darwin"
        from meshnode import paths
        from meshnode.cli import names
        from meshnode.cli.commands import keys, migrate
        from meshnode.cli.main import parser
        from meshnode.config import Config
        keygen, migration = (parser().parse_args([command]) for command in ("keygen", "migrate"))
        print(names.hosts_path(), keygen.dir, migration.source, migration.target)
        print(Config().meshnode.access.allow_file, paths.key_directory([]))
    """
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    root = "/usr/local/etc"
    assert said.split() == [
        f"{root}/fips/hosts",
        f"{root}/fips",
        f"{root}/fips",
        f"{root}/meshnode",
        f"{root}/fips/peers.allow",
        f"{root}/fips",
    ]


@pytest.mark.parametrize("directory", ["", "relative/x"])
def test_a_user_directory_that_is_not_absolute_does_not_count(directory: str) -> None:
    assert names({"HOME": "/h", "XDG_CONFIG_HOME": directory})[1] == "/h/.config/fips/fips.yaml"


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}])
def test_without_a_home_the_account_has_one(environment: dict[str, str]) -> None:
    assert names(environment)[2] == "/home/account/.fips.yaml"
    assert names(environment, home=None) == ["/etc/fips/fips.yaml", "fips.yaml"]


def test_the_running_account_has_an_absolute_home_or_none() -> None:
    home = account_home()
    assert home is None or home.startswith("/")


def test_keys_lie_beside_the_last_file_read() -> None:
    assert key_directory([Path("/etc/fips/fips.yaml"), Path("/srv/fips.yaml")]) == Path("/srv")
    assert key_directory([]) == Path("/etc/fips")


def test_a_configuration_in_our_own_directory_comes_before_the_shared_one(tmp_path: Path) -> None:
    own, shared = tmp_path / "meshnode", tmp_path / "fips"
    own.mkdir()
    assert machine_directory(own, shared) == shared
    (own / "fips.yaml").touch()
    assert machine_directory(own, shared) == own


@pytest.mark.parametrize(
    ("loaded", "expected"),
    [
        ([], "/etc/fips"),
        (["/etc/fips/fips.yaml"], "/etc/fips"),
        (["/home/me/fips.yaml"], "/etc/fips"),
        (["/etc/meshnode/fips.yaml"], "/etc/meshnode"),
        (["/etc/meshnode/fips.yaml", "/home/me/fips.yaml"], "/etc/meshnode"),
    ],
)
def test_companions_lie_in_our_own_directory_when_the_configuration_does(loaded: list[str], expected: str) -> None:
    assert companion_directory([Path(file) for file in loaded]) == Path(expected)


@pytest.mark.parametrize(
    ("environment", "directories", "expected"),
    [
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, {"/run/fips", "/run/user/7"}, "/run/fips/control.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, {"/run/user/7"}, "/run/user/7/fips/control.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, set(), "/tmp/fips-control.sock"),
        ({}, set(), "/tmp/fips-control.sock"),
    ],
)
def test_the_socket_goes_where_a_directory_is(
    environment: dict[str, str], directories: set[str], expected: str
) -> None:
    assert str(default_socket(CONTROL_SOCKET, environment, directories.__contains__)) == expected


USUAL, USERS, SHARED = "/run/fips/control.sock", "/run/user/7/fips/control.sock", "/tmp/fips-control.sock"
OURS, ROOTS, STRANGERS = os.geteuid(), 0, 54321


@pytest.mark.parametrize(
    ("sockets", "found"),
    [
        ({USERS: OURS, SHARED: OURS}, USERS),
        ({SHARED: ROOTS}, SHARED),
        ({USUAL: STRANGERS, USERS: OURS}, USUAL),
        ({USERS: STRANGERS, SHARED: STRANGERS}, USUAL),
        ({}, USUAL),
    ],
)
def test_a_socket_from_before_the_usual_directory_was_made_is_found_if_it_can_be_trusted(
    sockets: dict[str, int], found: str
) -> None:
    def status(path: Path) -> os.stat_result:
        if str(path) not in sockets:
            raise FileNotFoundError
        return os.stat_result((stat.S_IFSOCK | 0o770, 1, 1, 1, sockets[str(path)], 0, 0, 0, 0, 0))

    environment = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert str(find_socket(CONTROL_SOCKET, environment, {"/run/fips"}.__contains__, status)) == found


def test_a_usual_socket_that_we_may_not_see_is_not_passed_over() -> None:
    def status(path: Path) -> os.stat_result:
        if str(path) == USUAL:
            raise PermissionError
        return os.stat_result((stat.S_IFSOCK | 0o770, 1, 1, 1, OURS, 0, 0, 0, 0, 0))

    assert str(find_socket(CONTROL_SOCKET, {}, lambda path: True, status)) == USUAL


def test_what_is_no_socket_is_not_found() -> None:
    def status(path: Path) -> os.stat_result:
        if str(path) == USUAL:
            raise FileNotFoundError
        return os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, OURS, 0, 0, 0, 0, 0))

    assert str(find_socket(CONTROL_SOCKET, {}, lambda path: True, status)) == USUAL


def test_a_configured_socket_is_taken_as_written() -> None:
    assert socket_path("here.sock", CONTROL_SOCKET, {}) == "here.sock"
    assert socket_path("", CONTROL_SOCKET, {}) == ""
    assert str(socket_path(None, GATEWAY_SOCKET, {}, lambda path: False)) == "/tmp/fips-gateway.sock"
