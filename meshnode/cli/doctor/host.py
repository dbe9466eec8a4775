"""The node and the machine it runs on: is it there, may it do what it has to, interface, names, clock."""

from __future__ import annotations

from collections.abc import Iterator

from .verdicts import Patient, Verdict

_NET_ADMIN, _NET_RAW = 12, 13
_EARLIEST = 1_700_000_000
"""A clock before this moment (November 2023) has never been set."""


def node(patient: Patient) -> Iterator[Verdict]:
    """Is there a node to ask?"""
    if patient.trouble is None:
        status = patient.status
        yield Verdict("node", "ok", f"runs as process {status['pid']}, version {status['version']}")
    else:
        yield Verdict(
            "node",
            "bad",
            patient.trouble,
            "sudo systemctl start meshnode; if it runs, give its socket with --socket, and join its group",
        )


def cipher(patient: Patient) -> Iterator[Verdict]:
    """Which library seals and opens packets: one of them takes more than twice as long as the other."""
    library = patient.answers.get("show_config", {}).get("aead_library")
    if library == "cryptography":
        yield Verdict("cipher", "ok", "done by cryptography, the fastest library there is for it")
    elif library is not None:
        yield Verdict(
            "cipher",
            "hint",
            f"done by {library}, which takes two and a half times as long per packet as cryptography",
            "install the cryptography package, where this machine has one, and restart the node",
        )


def rights(patient: Patient) -> Iterator[Verdict]:
    """May the node make a network interface and open raw sockets?"""
    pid = patient.status.get("pid")
    text = patient.machine.read(f"/proc/{pid}/status") if pid else None
    if text is None:
        return
    held = int(next((line.split()[1] for line in text.splitlines() if line.startswith("CapEff:")), "0"), 16)
    wants = [(_NET_ADMIN, "CAP_NET_ADMIN")] if patient.setting("tun.enabled") else []
    if any(row["type"] == "ethernet" for row in patient.transports):
        wants.append((_NET_RAW, "CAP_NET_RAW"))
    missing = [name for bit, name in wants if not held >> bit & 1]
    if missing:
        yield Verdict(
            "rights",
            "bad",
            f"the node lacks {' and '.join(missing)}",
            "run it as root, or write AmbientCapabilities= into its unit",
        )
    elif wants:
        yield Verdict("rights", "ok", f"the node has {' and '.join(name for _, name in wants)}")


def interface(patient: Patient) -> Iterator[Verdict]:
    """Is there a network interface with the mesh address and the route?"""
    machine, status = patient.machine, patient.status
    if not machine.path("/dev/net/tun").exists():
        yield Verdict(
            "interface", "bad", "there is no /dev/net/tun", "modprobe tun; in a container: --device /dev/net/tun"
        )
        return
    if not patient.setting("tun.enabled"):
        return
    name = status.get("tun_name", "-")
    if status.get("tun_state") == "active" and machine.mtu(name) is None:
        yield Verdict("interface", "bad", f"{name} is gone, though the node believes in it", "restart the node")
        return
    if status.get("tun_state") != "active":
        yield Verdict(
            "interface",
            "bad",
            f"the interface is {status.get('tun_state')}",
            "meshctl log show says why; start it as root",
        )
        return
    if (machine.read(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6") or "0").strip() == "1":
        yield Verdict("interface", "bad", f"IPv6 is off on {name}", f"sysctl net.ipv6.conf.{name}.disable_ipv6=0")
        return
    routes = [line.split() for line in (machine.read("/proc/net/ipv6_route") or "").splitlines()]
    mesh = [route[-1] for route in routes if route[0].startswith("fd") and route[1] == "08"]
    if mesh and name not in mesh:
        yield Verdict(
            "interface",
            "bad",
            f"fd00::/8 goes to {mesh[0]} instead of {name}",
            f"ip -6 route del fd00::/8 dev {mesh[0]}",
        )
    else:
        yield Verdict("interface", "ok", f"{name} is active")


def names(patient: Patient) -> Iterator[Verdict]:
    """Does the system's resolver know names of the mesh?"""
    npub, own = patient.status.get("npub"), patient.status.get("ipv6_addr")
    if not npub or not patient.setting("dns.enabled"):
        return
    found = patient.machine.lookup(f"{npub}.fips")
    port = patient.setting("dns.port")
    fix = (
        f"write `meshnode: {{resolver: resolv-conf}}`, or make your resolver ask port {port} of this machine for .fips"
    )
    if found is None:
        yield Verdict("names", "bad", "the resolver does not answer", "look at /etc/resolv.conf")
    elif own in found:
        yield Verdict("names", "ok", "the resolver knows names under .fips")
    elif found:
        yield Verdict("names", "bad", f"the resolver gives {found[0]} for this node, which has {own}", fix)
    else:
        yield Verdict("names", "bad", "the resolver does not know names under .fips", fix)


def clock(patient: Patient) -> Iterator[Verdict]:
    """Is the time of this machine to be believed? Adverts and Tor need that; links do not."""
    if patient.machine.wall() < _EARLIEST:
        yield Verdict("clock", "bad", "the clock is years behind", "timedatectl set-ntp true, or set it by hand")
    elif patient.machine.clock_is_set() is False:
        yield Verdict("clock", "hint", "nothing keeps the clock right", "timedatectl set-ntp true")
    else:
        yield Verdict("clock", "ok", "a time service sets the clock")


CHECKS = (node, cipher, rights, interface, names, clock)
