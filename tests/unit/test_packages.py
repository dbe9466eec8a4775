"""What packages are made of, as far as it can be judged without building them; tests/packages builds them."""

from __future__ import annotations

import json
import os
import plistlib
import re
import subprocess
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from meshnode.config.load import parse

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
PINS = tomllib.loads((PACKAGING / "pins" / "inputs.toml").read_text())
RELEASES = tomllib.loads((PACKAGING / "debian" / "releases.toml").read_text())
NPUB = "npub1sjlh2c3x9w7kjsqg2ay080n2lff2uvt325vpan33ke34rn8l5jcqawh57m"
NSEC = "nsec1akmjfnywu8eyq5807v8nkvmm2js4dugs25jyt77el6u88vsmsuwqcyekmx"
ARCH_NAMES = {"pyyaml": "python-yaml", "prometheus-client": "python-prometheus_client"}
DEBIAN_NAMES = {"attrs": "python3-attr", "pyyaml": "python3-yaml"}


def module(name: str, path: Path) -> ModuleType:
    loader = SourceFileLoader(name, str(path))
    loaded = module_from_spec(spec_from_loader(name, loader))  # type: ignore[arg-type]
    loader.exec_module(loaded)
    return loaded


# -- pins


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each library that `packaging/pins/NAME.txt` lists."""
    text = (PACKAGING / "pins" / f"{name}.txt").read_text().replace("\\\n", " ")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for row in rows for word in row[1:])
    found = {}
    for row in rows:
        library, _, version = row[0].partition("==")
        found[library.lower().replace("_", "-")] = (version, len(row) - 1)
    return found


def dependencies(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for name in extras for text in project["optional-dependencies"][name])]
    found = [Requirement(text) for text in texts]
    return [one for one in found if one.marker is None or one.marker.evaluate({"platform_machine": "x86_64"})]


@pytest.mark.parametrize("name", list(PINS))
def test_whatever_is_bundled_is_pinned_by_a_hash(name: str) -> None:
    found = pins(name)
    assert found
    assert all(version and count for version, count in found.values())


@pytest.mark.parametrize("name", ["bookworm", "anywhere"])
def test_pins_satisfy_what_the_project_asks_for(name: str) -> None:
    left_out = {library.lower() for library in PINS[name].get("left_out", [])}
    for requirement in dependencies("ble", "lan", "metrics", "top", "tor"):
        library = requirement.name.lower().replace("_", "-")
        assert library in left_out or requirement.specifier.contains(pins(name)[library][0]), requirement


@pytest.mark.parametrize("release", list(RELEASES))
def test_a_debian_package_brings_or_asks_for_everything(release: str) -> None:
    asked = dict(re.findall(r"^(\S+)(?: \(>= ([\d.]+)\))?$", "\n".join(RELEASES[release]["depends"]), re.M))
    for requirement in dependencies():
        library = requirement.name.lower()
        if library in pins(release):
            assert requirement.specifier.contains(pins(release)[library][0])
        else:
            bound = asked[DEBIAN_NAMES.get(library, f"python3-{library}")]
            assert requirement.specifier.contains(bound), requirement


def test_what_is_left_to_debian_is_asked_for() -> None:
    left = {library.lower() for library in PINS["bookworm"]["left_out"]} - {"pycparser"}  # only compilers need that one
    names = {DEBIAN_NAMES.get(library, f"python3-{library.removesuffix('-py')}") for library in left}
    assert names == {name.split()[0] for name in RELEASES["bookworm"]["depends"]}


# -- archives


@pytest.fixture
def archives() -> ModuleType:
    return module("archives", PACKAGING / "builder" / "archives.py")


def test_an_archive_does_not_tell_who_made_it_when_and_where(archives: ModuleType, tmp_path: Path) -> None:
    made = []
    for name, mode in (("one", 0o022), ("another place", 0o077)):
        before = os.umask(mode)
        directory = tmp_path / name
        for file in ("b", "a/x") if mode == 0o022 else ("a/x", "b"):
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(file)
        (directory / "run").write_text("#!/bin/sh\n")
        (directory / "run").chmod(0o700)
        (directory / "link").symlink_to("b")
        os.umask(before)
        archives.normalise(directory, 1_700_000_000)
        made.append(archives.write_tar_gz(tmp_path / f"{mode}.tar.gz", directory, "top", 1_700_000_000).read_bytes())
    assert made[0] == made[1]
    listed = subprocess.run(["tar", "-tvz"], input=made[0], capture_output=True, check=True).stdout.decode()
    assert [line.split()[0] for line in listed.splitlines()] == [
        *("drwxr-xr-x", "drwxr-xr-x", "-rw-r--r--", "-rw-r--r--", "lrwxrwxrwx", "-rwxr-xr-x")
    ]


# -- the container's start


@pytest.fixture
def container() -> ModuleType:
    return module("meshnode_container", PACKAGING / "container" / "meshnode-container")


def settings(container: ModuleType, **variables: str) -> Any:
    """What a node reads of it."""
    text = json.dumps(container.configuration({"FIPS_NSEC": NSEC, **variables}))
    config, warnings = parse(text)
    assert warnings == []
    return config


def test_a_key_alone_makes_a_node_that_listens(container: ModuleType) -> None:
    config = settings(container)
    assert config.node.identity.nsec == NSEC
    assert (config.tun.enabled, config.tun.name, config.tun.mtu) == (True, "fips0", 1280)
    assert (config.dns.bind_addr, config.dns.port, config.meshnode.resolver) == ("127.0.0.1", 5354, "resolv-conf")
    assert [(name, one.bind_addr) for name, one in config.transports.udp.items()] == [(None, "0.0.0.0:2121")]
    assert not list(config.transports.tcp.items())
    assert config.peers == []


def test_one_peer_by_single_variables(container: ModuleType) -> None:
    variables = {"FIPS_PEER_NPUB": NPUB, "FIPS_PEER_ADDR": "home:2121", "FIPS_PEER_TRANSPORT": "tcp"}
    (peer,) = settings(container, **variables, FIPS_TCP_BIND="0.0.0.0:8443").peers
    assert (peer.npub, peer.alias, peer.addresses[0].transport) == (NPUB, "peer", "tcp")


def test_a_peer_that_is_reached_by_tcp_needs_no_port_of_our_own(container: ModuleType) -> None:
    variables = {"FIPS_PEER_NPUB": NPUB, "FIPS_PEER_ADDR": "home:8443", "FIPS_PEER_TRANSPORT": "tcp"}
    ((_, tcp),) = settings(container, **variables).transports.tcp.items()
    assert tcp.bind_addr is None


def test_a_list_of_peers_wins_over_single_variables(container: ModuleType) -> None:
    rows = [{"npub": NPUB, "addr": "192.0.2.1:1", "priority": 7}, {"npub": NPUB, "addr": "x:2", "transport": "tcp"}]
    peers = settings(container, FIPS_PEERS_JSON=json.dumps(rows), FIPS_PEER_NPUB="x", FIPS_PEER_ADDR="y").peers
    assert [(one.addresses[0].addr, one.addresses[0].transport, one.addresses[0].priority) for one in peers] == [
        ("192.0.2.1:1", "udp", 7),
        ("x:2", "tcp", peers[1].addresses[0].priority),
    ]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"FIPS_PEERS_JSON": "["}, "FIPS_PEERS_JSON is no JSON"),
        ({"FIPS_PEERS_JSON": "[{}]"}, "FIPS_PEERS_JSON has to be a list like"),
        ({"FIPS_PEERS_JSON": json.dumps([{"npub": "x", "addr": 7}])}, "FIPS_PEERS_JSON has to be a list like"),
        ({"FIPS_PEER_NPUB": NPUB}, "belong together"),
        ({"FIPS_TUN_MTU": "big"}, "FIPS_TUN_MTU is 'big'"),
        ({"FIPS_REWRITE_DNS": "maybe"}, "FIPS_REWRITE_DNS is 'maybe'; write true or false"),
        ({"FIPS_TUN_NAME": 'x" accept'}, "write the name of an interface"),
        ({"FIPS_ISOLATE": "true", "FIPS_POD_IFACE": "e;t"}, "write the name of an interface"),
        ({"FIPS_ISOLATE": "true", "FIPS_UDP_BIND": "nowhere"}, "the port of FIPS_UDP_BIND"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(container: ModuleType, variables: dict[str, str], says: str) -> None:
    environment = {"FIPS_NSEC": NSEC, **variables}
    with pytest.raises(container.BadEnvironment, match=re.escape(says)):
        container.configuration(environment), container.rules(environment)


def test_isolation_lets_in_the_mesh_ports_and_out_to_peers(container: ModuleType) -> None:
    peers = json.dumps([{"npub": NPUB, "addr": "192.0.2.1:8443", "transport": "tcp"}])
    variables = {
        "FIPS_ISOLATE": "true",
        "FIPS_UDP_BIND": "0.0.0.0:9",
        "FIPS_TCP_BIND": "[::]:7",
        "FIPS_PEERS_JSON": peers,
    }
    text = container.rules(variables)
    assert re.findall(r"(?:udp|tcp) [ds]port \d+ accept", text) == [
        *("udp dport 9 accept", "tcp dport 7 accept", "udp sport 9 accept", "tcp dport 8443 accept")
    ]
    assert "isolate" not in container.rules({})


# -- examples


def test_the_manual_tells_of_every_variable_the_container_knows() -> None:
    code = (PACKAGING / "container" / "meshnode-container").read_text()
    page = (ROOT / "docs" / "how-to" / "run-in-a-container.md").read_text()
    assert set(re.findall(r"FIPS_[A-Z_]+[A-Z]", code)) == set(re.findall(r"FIPS_[A-Z_]+[A-Z]", page))


def test_examples_set_variables_that_the_container_knows(container: ModuleType) -> None:
    known = set(re.findall(r"FIPS_[A-Z_]+[A-Z]", (PACKAGING / "container" / "meshnode-container").read_text()))
    services = yaml.safe_load((ROOT / "examples/containers/compose.yaml").read_text())["services"]
    values = {
        f"{name}_{kind}": key for name in ("LEFT", "MIDDLE", "RIGHT") for kind, key in (("NSEC", NSEC), ("NPUB", NPUB))
    }
    for service in services.values():
        environment = {
            name: re.sub(r"\$\{(\w+)\}", lambda hit: values[hit[1]], text)
            for name, text in service["environment"].items()
        }
        assert environment.keys() <= known
        parse(json.dumps(container.configuration(environment)))
    _, pod = yaml.safe_load_all((ROOT / "examples/kubernetes/sidecar.yaml").read_text())
    (sidecar,) = pod["spec"]["initContainers"]
    assert {variable["name"] for variable in sidecar["env"]} <= known


# -- scripts and files for other systems


def test_what_is_purged_is_what_the_node_writes() -> None:
    script = (PACKAGING / "debian" / "postrm").read_text()
    assert "marker='MARKER'" in script  # packaging/build fills it in
    backends = (ROOT / "meshnode" / "ipv6" / "resolver_backends.py").read_text()
    for file in re.findall(r'"(/etc/(?:systemd|dnsmasq.d|NetworkManager)/\S+)"', backends):
        if "." in Path(file).name:
            assert file in script


def test_a_sample_configuration_has_nothing_odd() -> None:
    config, warnings = parse((PACKAGING / "debian" / "fips.yaml.example").read_text())
    assert warnings == []
    assert config.node.identity.persistent


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("sh", "freebsd/meshnode"),
        ("bash", "aur/PKGBUILD"),
        *(("sh", f"debian/{script}") for script in ("postinst", "prerm", "postrm")),
        *(("sh", f"tarball/{script}") for script in ("install.sh", "uninstall.sh")),
    ],
)
def test_scripts_can_be_read_by_their_shell(shell: str, file: str) -> None:
    subprocess.run([shell, "-n", PACKAGING / file], check=True)


def test_launchd_gets_a_list_it_can_read() -> None:
    job = plistlib.loads((PACKAGING / "macos" / "org.meshnode.node.plist").read_bytes())
    assert job["ProgramArguments"][1:] == ["--config", "/usr/local/etc/fips/fips.yaml"]
    assert job["Umask"] == 0o027


def test_recipes_name_the_version_and_the_libraries_of_the_project() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "meshnode/__init__.py").read_text())
    assert version is not None
    recipe, flake = (PACKAGING / "aur/PKGBUILD").read_text(), (PACKAGING / "nix/flake.nix").read_text()
    assert f"\npkgver={version[1]}\n" in recipe
    assert f'version = "{version[1]}";' in flake
    for requirement in dependencies("ble", "lan", "metrics", "top", "tor"):
        name = requirement.name.lower().replace(".", "-")
        assert re.search(rf"\b{ARCH_NAMES.get(name, f'python-{name}')}\b", recipe), name
        assert re.search(rf"\b{name}\b", flake), name
