"""The image and its examples in real containers: podman with its own network, on a host that is gone with the test."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshnode import __version__
from meshnode.identity import Identity
from tests.rigs.labs import Lab
from tests.rigs.pages import filled, sections

from .conftest import Artefact
from .machines import ROOT

PROGRAMS = ("podman", "podman-compose", "runc", "catatonit")
HELPERS = Path("/usr/lib/podman")
EXAMPLES = ROOT / "examples"
IMAGE = f"meshnode:{__version__}"
RELEASE = "trixie"
_MINUTES = 420.0
# The limits are below those of a machine that lets nobody raise any.
_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
static_dir = "{directory}/static"
volume_path = "{directory}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
"""
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{directory}/storage"\nrunroot = "/run/containers"\n'
_WEB_SERVER = "python3 -m http.server --bind :: --directory /srv/page 80"
pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)) or not (HELPERS / "aardvark-dns").exists(),
        reason="containers need podman; apt-get install podman podman-compose runc catatonit netavark aardvark-dns",
    ),
]


def key(name: str) -> Identity:
    return Identity.generate(lambda size: hashlib.sha256(name.encode()).digest()[:size])


class Engine:
    """podman, everything it keeps, and the image of this commit."""

    def __init__(self, lab: Lab, archive: Path) -> None:
        self._host = lab.host("engine")
        self.directory = self._host.directory
        for name, text in (("containers.conf", _SETTINGS), ("storage.conf", _STORAGE)):
            (self.directory / name).write_text(text.format(directory=self.directory))
        self._archive = archive

    def run(self, script: str) -> str:
        """Run the lines of a script, each of which has to succeed, and return what they say.

        They have process numbers of their own: what podman leaves in the background ends with them.
        """
        lines = f"set -e\npodman load --quiet --input {self._archive}\n{script}"
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", lines]
        environment = {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
        }
        done = self._host.run(command, timeout=_MINUTES, environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def engine(lab: Lab, artefact: Artefact) -> Engine:
    return Engine(lab, artefact("image", "--release", RELEASE))


def until_it_works(command: str) -> str:
    """A line that tries until a mesh has come together."""
    return f"for attempt in $(seq 30); do {command} && break; sleep 1; done; {command}"


def test_the_compose_example_is_a_mesh_of_three(engine: Engine) -> None:
    for file in (EXAMPLES / "containers").glob("*.yaml"):
        shutil.copy(file, engine.directory)
    keys = {name: key(name) for name in ("LEFT", "MIDDLE", "RIGHT")}
    lines = [f"{name}_NSEC={one.nsec}\n{name}_NPUB={one.npub}\n" for name, one in keys.items()]
    (engine.directory / ".env").write_text("".join(lines))
    ping = f"ping -n -6 -c 1 -W 2 {keys['RIGHT'].npub}.fips"
    # The oldest podman-compose does not pass on how a command ended.
    left = "podman exec engine_left_1"
    said = engine.run(f"""
podman-compose up --detach
{until_it_works(f"{left} {ping}")}
podman-compose exec -T left {ping}
{left} meshctl status
{left} ping -n -c 1 -W 1 right && exit 1
podman-compose down -t 5
""")
    assert "1 received" in said
    assert keys["LEFT"].npub in said


def test_the_pod_of_the_example_is_in_the_mesh_with_no_more_rights_than_it_asks_for(engine: Engine) -> None:
    config, pod = yaml.safe_load_all((EXAMPLES / "kubernetes" / "sidecar.yaml").read_text())
    (sidecar,) = pod["spec"]["initContainers"]
    home, ours = key("home"), key("pod")
    peers = config["data"]["peers.json"].replace("192.0.2.7", "home")
    peers = peers.replace(json.loads(peers)[0]["npub"], home.npub)
    page = engine.directory / "page"
    page.mkdir()
    (page / "index.html").write_text("hello")
    node = "--detach --network mesh --device /dev/net/tun --cap-add NET_ADMIN"
    secret = {"FIPS_NSEC": ours.nsec, "FIPS_PEERS_JSON": " ".join(peers.split())}
    (engine.directory / "pod.env").write_text(
        "".join(f"{name}={value}\n" for name, value in environment(sidecar, secret))
    )
    fetch = "podman run --rm --pod web --entrypoint curl"
    said = engine.run(f"""
podman network create mesh
podman run {node} --name home --env FIPS_NSEC={home.nsec} --volume {page}:/srv/page:ro {IMAGE}
podman exec --detach home {_WEB_SERVER}
podman pod create --name web --network mesh --sysctl net.ipv6.conf.all.disable_ipv6=0
podman run --detach --pod web --name sidecar --env-file pod.env --device /dev/net/tun {rights(sidecar)} {IMAGE}
{until_it_works("podman exec sidecar meshctl show status")}
{fetch} {IMAGE} --silent --show-error --retry 30 --retry-all-errors --max-time 60 http://home.fips/
podman pod rm --force --time 5 web
podman rm --force --time 5 home
""")
    assert ours.npub in said
    assert "hello" in said


def environment(container: dict[str, Any], referred: dict[str, str]) -> list[tuple[str, str]]:
    """The variables of a container in a manifest; `referred` has those that come from elsewhere."""
    return [(row["name"], row.get("value") or referred[row["name"]]) for row in container["env"]]


def rights(container: dict[str, Any]) -> str:
    """What a manifest says about capabilities, as options."""
    wanted = container["securityContext"]
    assert wanted["allowPrivilegeEscalation"] is False
    lists = wanted["capabilities"]
    options = [f"--cap-{verb}={name}" for verb in ("drop", "add") for name in lists[verb]]
    return " ".join([*options, "--security-opt no-new-privileges"])


def test_the_page_about_containers_is_followed_word_by_word(engine: Engine) -> None:
    home = key("home")
    page = engine.directory / "page"
    page.mkdir()
    (page / "index.html").write_text("hello, mesh\n")
    (block,) = sections("docs/how-to/run-in-a-container.md")["Run it"]
    assert IMAGE in block
    said = engine.run(f"""
podman network create --subnet 192.0.2.0/24 outside
podman run --detach --network outside --ip 192.0.2.7 --device /dev/net/tun --cap-add NET_ADMIN --name home \\
  --env FIPS_NSEC={home.nsec} --volume {page}:/srv/page:ro {IMAGE}
podman exec --detach home {_WEB_SERVER}
{filled(block, {"npub1...": home.npub})}
podman rm --force --time 5 node home
""")
    assert "This node is well." in said
    assert "hello, mesh\n" in said


def test_podman_understands_what_the_manual_types(engine: Engine) -> None:
    said = engine.run(f"podman run --rm --network none --entrypoint meshctl {IMAGE} keygen --stdout")
    nsec, npub = said.split()[-2:]
    assert Identity.parse(nsec).npub == npub
