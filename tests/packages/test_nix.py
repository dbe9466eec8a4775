"""The flake, evaluated by Nix with a stand-in for nixpkgs: nothing is downloaded, nothing built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from meshnode import __version__

from .machines import ROOT

FLAKE = ROOT / "packaging" / "nix" / "flake.nix"
NIXPKGS = Path(__file__).parent / "nixpkgs.nix"
pytestmark = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="evaluating the flake needs Nix; apt-get install nix-bin"
)


def run(directory: Path, *command: str) -> str:
    """Run a tool of Nix whose store, caches and settings are below `directory`."""
    (directory / "settings").mkdir(exist_ok=True)
    places = {"HOME": str(directory), "NIX_CONF_DIR": str(directory / "settings")}
    done = subprocess.run(
        [command[0], "--store", str(directory / "store"), *command[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, **places},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def evaluate(directory: Path, expression: str) -> Any:
    """The value of an expression in which `flake` is what ours gives, and `nixpkgs` what it was given."""
    lines = f"""
let
  nixpkgs = import {NIXPKGS};
  flake = (import {FLAKE}).outputs {{ self = flake; inherit nixpkgs; }};
in
{expression}"""
    return json.loads(run(directory, "nix-instantiate", "--eval", "--strict", "--json", "-E", lines))


@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux"])
def test_the_package_is_this_one_and_asks_for_all_it_needs(tmp_path: Path, system: str) -> None:
    package = evaluate(tmp_path, f"let p = flake.packages.{system}.default; in p // {{ src = toString p.src; }}")
    assert (package["pname"], package["version"]) == ("meshnode", __version__)
    assert Path(package["src"]).resolve() == ROOT
    assert required() <= set(package["dependencies"])
    assert package["build-system"] == ["setuptools"]


def required() -> set[str]:
    """What pyproject.toml asks for on such a machine, as nixpkgs calls it."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [line for line in map(Requirement, lines) if line.marker is None or line.marker.evaluate()]
    return {line.name.lower().replace(".", "-") for line in wanted}


def test_its_services_start_what_lies_in_the_store(tmp_path: Path) -> None:
    script = evaluate(tmp_path, "flake.packages.x86_64-linux.default.postInstall")
    out = tmp_path / "out"
    subprocess.run(["bash", "-euc", script], cwd=ROOT, env={**os.environ, "out": str(out)}, check=True)
    units = {unit.name: unit.read_text() for unit in (out / "lib/systemd/system").iterdir()}
    assert sorted(units) == ["meshnode-gateway.service", "meshnode.service"]
    for name, text in units.items():
        assert f"\nExecStart={out}/bin/{name.removesuffix('.service')} --config /etc/meshnode/fips.yaml\n" in text
        assert "/opt/" not in text
        assert "/etc/fips" not in text


@pytest.mark.parametrize("gateway", [False, True])
def test_a_system_that_wants_it_gets_the_services_and_one_that_does_not_nothing(tmp_path: Path, gateway: bool) -> None:
    def system(enable: bool) -> Any:
        wish = f"{{ enable = {json.dumps(enable)}; gateway = {json.dumps(gateway)}; }}"
        world = f"{{ config.services.meshnode = {wish}; inherit (nixpkgs) lib pkgs; }}"
        return evaluate(
            tmp_path,
            f"let c = (flake.nixosModules.default {world}).config; in {{ "
            "groups = c.users.groups or { }; services = c.systemd.services or { }; "
            "packages = map (p: p.pname) (c.systemd.packages or [ ]); }",
        )

    wanted = system(True)
    assert wanted["packages"] == ["meshnode"]
    assert "fips" in wanted["groups"]
    assert sorted(wanted["services"]) == ["meshnode", "meshnode-gateway"][: 1 + gateway]
    assert wanted["services"]["meshnode"]["path"] == ["nftables", "iproute2"]
    assert system(False) == {"groups": {}, "services": {}, "packages": []}


def test_it_is_a_flake_of_this_repository(tmp_path: Path) -> None:
    checkout, nixpkgs = tmp_path / "checkout", tmp_path / "nixpkgs"
    subprocess.run(["git", "clone", "--quiet", ROOT, checkout], check=True)
    nixpkgs.mkdir()
    shutil.copy(NIXPKGS, nixpkgs / "nixpkgs.nix")
    (nixpkgs / "flake.nix").write_text("{ outputs = { self }: import ./nixpkgs.nix; }")
    version = run(
        tmp_path,
        "nix",
        *("--extra-experimental-features", "nix-command flakes", "eval", "--json", "--no-write-lock-file"),
        *("--override-input", "nixpkgs", f"path:{nixpkgs}"),
        f"git+file://{checkout}?dir=packaging/nix#packages.x86_64-linux.default.version",
    )
    assert json.loads(version) == __version__
