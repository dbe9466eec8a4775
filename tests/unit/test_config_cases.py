"""Every configuration tried against running reference daemons gives the same result here, or the table says why not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshnode.config.errors import ConfigError
from meshnode.config.keyfile import IdentitySource, Resolved, resolve_identity
from meshnode.config.load import Loaded, load
from meshnode.config.schema import Config
from meshnode.config.validate import CONTEXT, validate
from meshnode.identity import Identity, IdentityError, PeerIdentity
from meshnode.paths import CONTROL_SOCKET, key_directory, socket_path

CASES = json.loads((Path(__file__).parent.parent / "vectors" / "config" / "cases.json").read_text())
COMMAND_LINE = ("usage", "information")
NOBODY = 65534

DELIBERATE: dict[str, tuple[str, dict[str, Any]]] = {
    "byte order mark": ("an editor put it there, nobody meant it", {"accepted": True, "class": "ok"}),
    "search: second file broken": ("the whole file is parsed before any key is read", {"class": "parse: syntax"}),
    "usize above u64": ("a number too large is one, at any size", {"class": "parse: invalid value"}),
    "udp.mtu 0": ("no packet fits", {"accepted": False, "class": "policy"}),
    "udp two on the same port": ("half the frames would go astray", {"accepted": False, "class": "policy"}),
    "tun mtu 1279": ("the system refuses the address", {"accepted": False, "class": "policy"}),
    "tun mtu 68": ("the system refuses the address", {"accepted": False, "class": "policy"}),
    "tun mtu 0": ("the system refuses the interface", {"accepted": False, "class": "policy"}),
    "control socket null": ("null means unset", {"effective": {"control_socket": "/run/fips/control.sock"}}),
    "search: higher file turns tun off": ("every key overlays", {"effective": {}}),
    "search: four files, keys spread": (
        "a file without a dns section does not turn dns on",
        {"effective": {"dns_listeners": [], "tun_state": "active", "tun_name": "cfg0"}},
    ),
    "search: node keys dropped": (
        "every key counts, with -c or without",
        {
            "effective": {
                "is_leaf_only": True,
                "control_socket": "/run/elsewhere.sock",
                "coord_cache": [7, 300000],
            }
        },
    ),
}
"""Cases in which we differ from the reference on purpose: the reason, and what is expected instead."""


class Outcome(NamedTuple):
    loaded: Loaded
    resolved: Resolved


class Sandbox:
    """The directories of one case, with the commands that prepare them."""

    def __init__(self, root: Path, case: dict[str, Any]) -> None:
        self.root = root
        self.case = case
        for name in ("etc/fips", "home", "cwd", "xdg", "run/fips"):
            (root / name).mkdir(parents=True)
        self._lay_out()
        for command in case.get("before", []):
            self._prepare(command.split())

    def _lay_out(self) -> None:
        files = {f: text.encode() for f, text in self.case.get("files", {}).items()}
        if "yaml" in self.case:
            files["cwd/t.yaml"] = self.case["yaml"].encode()
        if "yaml_latin1" in self.case:
            files["cwd/t.yaml"] = self.case["yaml_latin1"].encode("latin-1")
        for name, content in files.items():
            if self.case["name"].endswith("not UTF-8") and name.endswith(".key"):
                content = b"\xff\xfe"
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(content)

    def _prepare(self, words: list[str]) -> None:
        match words:
            case ["ln", "-s", target, link]:
                (self.root / link).symlink_to(target)
            case ["mkdir", directory]:
                (self.root / directory).mkdir()
            case ["rmdir", directory]:
                (self.root / directory).rmdir()
            case ["chmod", "-R", "777", "@"]:
                for path in [self.root, *self.root.rglob("*")]:
                    path.chmod(0o777)
            case ["chmod", mode, path]:
                (self.root / path).chmod(int(mode, 8))
            case ["echo", word, ">", path]:
                (self.root / path).write_text(f"{word}\n")
            case _:
                raise AssertionError(f"unknown command {words}")

    @property
    def environment(self) -> dict[str, str]:
        given = {"HOME": f"{self.root}/home", **self.case.get("env", {})}
        return {name: text.replace("<dir>", str(self.root)) for name, text in given.items() if text is not None}

    def is_directory(self, path: str) -> bool:
        return (self.root / "run/fips").is_dir() if path == "/run/fips" else Path(path).is_dir()

    def start(self) -> Outcome:
        file = config_option(self.case.get("args", ["-c", "t.yaml"]))
        system = self.root / "etc" / "fips"
        loaded = load(Path(file) if file else None, self.environment, self.root / "cwd", system_directory=system)
        resolved = resolve_identity(loaded.config.node.identity, key_directory(loaded.paths, system), os.urandom)
        validate(loaded.config, loaded.places)
        return Outcome(loaded, resolved)


def config_option(arguments: list[str]) -> str | None:
    match arguments:
        case []:
            return None
        case ["-c", file]:
            return file
        case [joined]:
            return joined.removeprefix("--config=").removeprefix("-c")
    raise AssertionError(arguments)


@contextlib.contextmanager
def running_as(case: dict[str, Any]) -> Iterator[None]:
    if "as" not in case or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def root() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="meshnode-cases-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def expected_of(case: dict[str, Any]) -> dict[str, Any]:
    """What the newer daemon does, of which a missing transport is no matter of the configuration."""
    expected = {**case, **case.get("master", {})}
    if case["name"] in DELIBERATE:
        expected |= DELIBERATE[case["name"]][1]
    if expected["class"] == "start: no transport":
        expected["accepted"] = True
    expected["effective"] = {**case.get("effective", {}), **case.get("master", {}).get("effective", {})}
    if case["name"] in DELIBERATE:
        expected["effective"] = DELIBERATE[case["name"]][1].get("effective", {})
    return expected


RUN = [case for case in CASES if case["class"] not in COMMAND_LINE]


def test_every_deliberate_difference_names_a_case() -> None:
    assert DELIBERATE.keys() <= {case["name"] for case in CASES}


@pytest.mark.parametrize("case", RUN, ids=lambda case: case["name"])
def test_case(case: dict[str, Any], root: Path) -> None:
    expected = expected_of(case)
    sandbox = Sandbox(root, case)
    with running_as(case):
        try:
            outcome = sandbox.start()
        except ConfigError as error:
            check_refusal(error, expected, case)
            return
    assert expected["accepted"], f"accepted, but the reference says {expected['class']}"
    check_effective(outcome, expected["effective"], sandbox)
    check_files(outcome.resolved, case, sandbox)


def check_refusal(error: ConfigError, expected: dict[str, Any], case: dict[str, Any]) -> None:
    text = str(error)
    assert not expected["accepted"], f"refused: {text}"
    problem = expected["class"].removeprefix("parse: ")
    assert "\n" not in text
    if problem == "transport shape":
        assert error.key.startswith("transports.")
    elif problem == "panic":
        assert error.problem == "policy"
    else:
        assert error.problem == problem
    if expected["class"].startswith("parse"):
        prefix = expected["message"].partition(" failed to parse config file ")[0]
        assert text.startswith(f"{prefix} failed to parse config file ")
    elif error.problem == "validation":
        assert text.startswith(CONTEXT)
        reference = expected["message"].partition("invalid configuration: ")[2].replace("discovery", "rendezvous")
        assert text.removeprefix(CONTEXT)[:20] == reference[:20]
    elif error.problem == "identity":
        assert text.startswith(case["message"].removeprefix("ERROR fips: ").partition("error: ")[0][:26])


def check_effective(outcome: Outcome, effective: dict[str, Any], sandbox: Sandbox) -> None:
    config, identity = outcome.loaded.config, outcome.resolved.identity
    assert config.tun.enabled == ("tun_state" in effective)
    if effective.get("tun_state") == "active":
        assert {"": "tun0", "fips%d": "fips0"}.get(config.tun.name, config.tun.name) == effective["tun_name"]
    if str(effective.get("npub", "<")).startswith("npub1"):
        assert identity.npub == effective["npub"]
    assert config.node.leaf_only == effective.get("is_leaf_only", False)
    cache = config.node.cache
    seconds, size = effective.get("coord_cache", [50000, 300000])[::-1]
    assert [cache.coord_size, cache.coord_ttl_secs * 1000 % 2**64] == [size, seconds]
    assert cache.identity_size == effective.get("identity_cache_max", 10000)
    check_dns(config, effective)
    check_transports(config, effective.get("transports", []))
    if "peers_known" in effective:
        assert displayed_peers(config) == sorted(name.lower() for name in effective["peers_known"])
    check_socket(config, effective, sandbox)


def check_dns(config: Config, effective: dict[str, Any]) -> None:
    dns = config.dns
    listeners = effective.get("dns_listeners")
    if listeners is None:
        assert (dns.enabled, dns.bind_addr, dns.port) == (True, "::1", 5354)
    elif listeners == []:
        assert not dns.enabled or not can_be_bound(dns.bind_addr)
    else:
        host = {"::": "*", "127.0.0.1": "127.0.0.1"}.get(dns.bind_addr, f"[{dns.bind_addr}]")
        assert f"{host}:{dns.port or '<any>'}" in listeners


def can_be_bound(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def check_transports(config: Config, expected: list[dict[str, Any]]) -> None:
    configured = {(kind, name): section for kind, name, section in config.transports.each()}
    for entry in expected:
        section: Any = configured[entry["type"], entry.get("name")]
        if entry["type"] != "ethernet":
            assert section.mtu == entry["mtu"]
        if "local_addr" in entry:
            address = section.effective_bind_addr if entry["type"] == "udp" else section.bind_addr
            assert address.removesuffix(":0") == entry["local_addr"].removesuffix(":<any>")


def displayed_peers(config: Config) -> list[str]:
    shown = {}
    for peer in config.peers:
        try:
            identity = PeerIdentity.from_npub(peer.npub)
        except IdentityError:
            continue
        shown[identity] = (peer.alias or identity.short_npub).lower()
    return sorted(shown.values())


def check_socket(config: Config, effective: dict[str, Any], sandbox: Sandbox) -> None:
    if "control" in effective:
        return
    control = config.node.control
    path = socket_path(control.socket_path, CONTROL_SOCKET, sandbox.environment, sandbox.is_directory)
    expected = effective.get("control_socket", "/run/fips/control.sock")
    assert control.enabled
    assert str(path) == expected.replace("<dir>", str(sandbox.root))


def check_files(resolved: Resolved, case: dict[str, Any], sandbox: Sandbox) -> None:
    for name, text in case.get("files_after", {}).items():
        found = (sandbox.root / name).read_text().strip()
        wanted = {"<random npub>": resolved.identity.npub, "<random nsec>": resolved.identity.nsec}.get(text, text)
        assert found == wanted
    modes = {**case.get("modes", {}), **case.get("master", {}).get("modes", {})}
    for name, mode in modes.items():
        if name.startswith("cwd/"):
            assert oct(stat.S_IMODE((sandbox.root / name).stat().st_mode)) == mode
    if resolved.source is IdentitySource.CONFIGURATION:
        assert Identity.parse(case_nsec(case)).npub == resolved.identity.npub


def case_nsec(case: dict[str, Any]) -> str:
    text = case.get("yaml") or "".join(case["files"].values())
    return str(text.partition("nsec:")[2].lstrip(' "').split('"')[0].split("}")[0])
