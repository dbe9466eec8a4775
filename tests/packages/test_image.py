"""The container image, run in chroots from its own layer: no engine can run containers on every machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from meshnode.identity import Identity
from tests.rigs import traffic
from tests.rigs.hosts import cable
from tests.rigs.labs import Lab

from .conftest import Artefact
from .machines import ROOT, Machine

pytestmark = pytest.mark.net
RELEASE = "trixie"


class Image:
    """An image unpacked: its layer's file system, and how it wants to be started."""

    def __init__(self, archive: Path, directory: Path) -> None:
        layout = directory / "layout"
        with tarfile.open(archive) as file:
            file.extractall(layout, filter="data")
        self.index = json.loads((layout / "index.json").read_text())
        manifest = self._blob(layout, self.index["manifests"][0]["digest"])
        self.settings = self._blob(layout, manifest["config"]["digest"])
        (layer,) = manifest["layers"]
        self.system = directory / "system"
        with tarfile.open(self._path(layout, layer["digest"])) as file:
            file.extractall(self.system, filter="fully_trusted")

    def _path(self, layout: Path, digest: str) -> Path:
        path = layout / "blobs" / Path(digest.replace(":", "/"))
        with open(path, "rb") as file:
            assert f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
        return path

    def _blob(self, layout: Path, digest: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._path(layout, digest).read_text())
        return content


@pytest.fixture(scope="module")
def image(artefact: Artefact, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(artefact("image", "--release", RELEASE), tmp_path_factory.mktemp("image"))


def key(name: str) -> Identity:
    return Identity.generate(lambda size: hashlib.sha256(name.encode()).digest()[:size])


def run(machine: Machine, image: Image, environment: Mapping[str, str]) -> None:
    machine.start(*image.settings["config"]["Entrypoint"], environment=environment)


def test_three_containers_in_a_row_reach_each_other_by_name(image: Image, lab: Lab) -> None:
    left, middle, right = (Machine(lab.host(name), image.system) for name in ("left", "middle", "right"))
    _, to_middle = cable(left.host, middle.host, "10.99.0", "eth0", "west")
    _, from_right = cable(right.host, middle.host, "10.99.1", "eth0", "east")
    keys = [key(name) for name in ("left", "middle", "right")]
    run(middle, image, {"FIPS_NSEC": keys[1].nsec, "FIPS_TCP_BIND": "0.0.0.0:8443"})
    middle.npub()
    run(
        left,
        image,
        {
            "FIPS_NSEC": keys[0].nsec,
            "FIPS_PEER_NPUB": keys[1].npub,
            "FIPS_PEER_ADDR": f"{to_middle}:2121",
            "FIPS_PEER_ALIAS": "middle",
            "FIPS_ISOLATE": "true",
        },
    )
    peer = {"npub": keys[1].npub, "addr": f"{from_right}:8443", "transport": "tcp", "priority": 1}
    run(right, image, {"FIPS_NSEC": keys[2].nsec, "FIPS_PEERS_JSON": json.dumps([peer])})
    assert [left.npub(), right.npub()] == [keys[0].npub, keys[2].npub]
    for machine, name in ((left, keys[2].npub), (right, keys[0].npub), (left, "middle")):
        machine.inside(
            "sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9; do ping -6 -c 1 -W 2 {name}.fips && exit; done; exit 1"
        )
    # What isolates lets the mesh through and nothing beside it.
    assert "100% packet loss" in left.inside("ping", "-c", "1", "-W", "1", to_middle, succeeds=False)
    assert "64 bytes" in right.inside("ping", "-c", "1", "-W", "1", from_right)
    with traffic.web_page(right.host, "hello"):
        assert left.inside("curl", "-sS", "-m", "20", f"http://{keys[2].npub}.fips/") == "hello"


def test_a_container_without_a_key_says_so_in_one_line(image: Image, lab: Lab) -> None:
    machine = Machine(lab.host("alone"), image.system)
    process = machine.start(*image.settings["config"]["Entrypoint"])
    assert process.wait(30) == 78
    assert machine.log == (
        "meshnode-container: set FIPS_NSEC to a secret key (nsec1..., from `meshctl keygen --stdout`), "
        "or mount a /etc/fips/fips.yaml\n"
    )


def test_a_configuration_that_was_mounted_is_used_as_it_is(image: Image, lab: Lab) -> None:
    machine = Machine(lab.host("mounted"), image.system)
    machine.write(
        "/etc/fips/fips.yaml", "node: {identity: {persistent: true}}\ntun: {enabled: true}\ntransports: {udp: {}}"
    )
    run(machine, image, {})
    npub = machine.npub()
    assert npub == machine.inside("cat", "/etc/fips/fips.pub").strip()


def test_the_manifest_for_kubernetes_has_the_fields_of_its_schema(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", "kubernetes-validate==1.37.0"]
    subprocess.run(pip, check=True)
    manifest = ROOT / "examples" / "kubernetes" / "sidecar.yaml"
    done = subprocess.run(
        [tmp_path / "venv/bin/kubernetes-validate", "--strict", manifest], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
