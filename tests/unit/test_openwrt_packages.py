"""Packages for OpenWrt: what they are made of, and that the same commit gives the same bytes."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from struct import unpack_from

import pytest

from tests.rigs.openwrt import ROOT, build, unpack

SOURCE = ROOT / "packaging" / "openwrt"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("packages"), {"SOURCE_DATE_EPOCH": "1700000000"})


def names(archive: tarfile.TarFile) -> list[str]:
    return [member.name for member in archive.getmembers()]


def test_two_builds_are_the_same_bit_for_bit(packages: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path / "elsewhere", {"SOURCE_DATE_EPOCH": "1700000000", "TZ": "Asia/Tokyo", "LC_ALL": "C"})
    assert sorted(again) == [".apk", ".ipk"]
    for suffix, path in again.items():
        assert path.read_bytes() == packages[suffix].read_bytes()


def test_an_ipk_is_a_compressed_tar_of_three_in_this_order(packages: dict[str, Path]) -> None:
    with tarfile.open(packages[".ipk"], "r:gz") as outer:
        assert [name for name in names(outer) if name != "."] == [
            "./debian-binary", "./control.tar.gz", "./data.tar.gz"
        ]  # fmt: skip
        assert outer.pax_headers == {}
    control, data = unpack(packages[".ipk"])
    assert {"./control", "./conffiles", "./postinst", "./prerm"} <= set(names(control))
    assert {(member.uid, member.uname, member.mtime) for member in data.getmembers()} == {(0, "", 1700000000)}


def test_the_configuration_is_for_root_only_and_scripts_can_be_run(packages: dict[str, Path]) -> None:
    _, data = unpack(packages[".ipk"])
    modes = {member.name: member.mode for member in data.getmembers()}
    assert modes["./etc/meshnode/fips.yaml"] == 0o600
    for name in ("init.d/meshnode", "init.d/meshnode-gateway", "hotplug.d/net/99-meshnode", "uci-defaults/90-meshnode"):
        assert modes[f"./etc/{name}"] == 0o755


def test_nothing_has_the_place_of_the_reference_daemon_s_files(packages: dict[str, Path]) -> None:
    _, data = unpack(packages[".ipk"])
    files = [member.name for member in data.getmembers() if member.isfile()]
    theirs = ("./usr/bin/fips", "./etc/fips", "./etc/init.d/fips", "./etc/hotplug.d/net/99-fips", "./etc/dnsmasq.d")
    assert [name for name in files if name.startswith(theirs)] == []


def test_what_a_router_does_not_run_is_left_out(packages: dict[str, Path]) -> None:
    _, data = unpack(packages[".ipk"])
    assert not [name for name in names(data) if "/sim/" in name or "/scapy/" in name or "__pycache__" in name]
    assert "./usr/lib/meshnode/twisted/plugins/meshnode_plugin.py" in names(data)


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """Kind and content of the blocks of an uncompressed package."""
    found, at = [], 8
    while at < len(data):
        (word,) = unpack_from("<I", data, at)
        size = word & 0x3FFFFFFF
        found.append((word >> 30, data[at + 4 : at + size]))
        at += size + -size % 8
    return found


def test_an_apk_describes_its_files_first_and_then_holds_them(packages: dict[str, Path]) -> None:
    raw = packages[".apk"].read_bytes()
    assert raw[:4] == b"ADBd"
    data = zlib.decompress(raw[4:], -15)
    assert data[:8] == b"ADB.pckg"
    (kind, described), *contents = blocks(data)
    assert kind == 0
    assert {kind for kind, _ in contents} == {2}
    for _, content in contents:
        assert hashlib.sha256(content[8:]).digest() in described
    for word in (b"meshnode", b"noarch", b"python3-twisted", b"lib/apk/packages", b"etc/init.d"):
        assert word in described


@pytest.mark.program("busybox")
def test_busybox_understands_every_script() -> None:
    scripts = [path for path in SOURCE.rglob("*") if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")]
    scripts.append(SOURCE / "files/usr/share/meshnode/lan.sh")
    assert len(scripts) == 7
    for script in scripts:
        done = subprocess.run(["busybox", "sh", "-n", str(script)], capture_output=True, text=True)
        assert done.stderr == ""


@pytest.mark.program("busybox")
@pytest.mark.parametrize(
    ("text", "wanted", "pool"),
    [
        ("gateway:\n  enabled: true\n  pool: \"fd05::/112\" # ours\n", True, "fd05::/112"),
        ("tun:\n  enabled: true\ngateway:\n  enabled: false\n", False, "fd01::/112"),
        ("tun:\n  enabled: true\n", False, "fd01::/112"),
        ("gateway:\n    pool: fd06::/120\n    enabled: true\ntun:\n    pool: x\n", True, "fd06::/120"),
    ],
)  # fmt: skip
def test_the_service_reads_the_gateway_s_section(tmp_path: Path, text: str, wanted: bool, pool: str) -> None:
    (tmp_path / "fips.yaml").write_text(text)
    script = f". {SOURCE}/files/usr/share/meshnode/lan.sh; CONFIG={tmp_path}/fips.yaml"
    script += "; gateway_wanted; echo $?; gateway_pool"
    done = subprocess.run(["busybox", "sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["0" if wanted else "1", pool]


def test_a_wrong_time_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SOURCE / "build"), "-o", str(tmp_path)],
        capture_output=True, text=True, env={"SOURCE_DATE_EPOCH": "yesterday", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "SOURCE_DATE_EPOCH is 'yesterday'; write seconds since 1970\n"


RECIPES = sorted((SOURCE / "feed").glob("*/Makefile"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
def test_a_recipe_pins_what_it_builds(recipe: Path) -> None:
    text = recipe.read_text()
    assert f"PKG_NAME:={recipe.parent.name}\n" in text
    assert re.search(r"^PKG_HASH:=[0-9a-f]{64}$|^PKG_SOURCE_VERSION:=[0-9a-f]{40}$", text, re.M)
    assert text.count("define ") == text.count("endef")


def test_there_is_a_recipe_for_each_dependency_that_openwrt_has_not(packages: dict[str, Path]) -> None:
    control, _ = unpack(packages[".ipk"])
    member = control.extractfile("./control")
    assert member is not None
    depends = re.search(r"^Depends: (.*)$", member.read().decode(), re.M)
    assert depends is not None
    made = {name for recipe in RECIPES for name in re.findall(r"^define Package/([\w-]+)$", recipe.read_text(), re.M)}
    assert made == {"libsecp256k1", "python3-coincurve", "python3-pyroute2", "python3-txtorcon"}
    assert {"python3-coincurve", "python3-pyroute2"} <= set(depends[1].split(", "))
