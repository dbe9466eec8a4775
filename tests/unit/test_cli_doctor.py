# ruff: noqa: F811  (fixtures come from a neighbour)
"""`meshctl doctor`: each planted fault is named with its remedy, and a healthy machine is left in peace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.commands.doctor import examine
from meshnode.cli.doctor.machine import Machine
from meshnode.cli.doctor.verdicts import Patient, Verdict
from tests.unit.test_cli_main import Daemon, daemon, run  # noqa: F401

OWN = "fd44:c64e::1"
NPUB = "npub1abc"
UDP = {"type": "udp", "transport_id": 1, "state": "up", "mtu": 1280, "local_addr": "0.0.0.0:2121", "stats": {}}
PEER = {
    "display_name": "bob",
    "transport_type": "udp",
    "transport_addr": "10.0.0.2:2121",
    "link_mtu": 1280,
    "clock_ahead_secs": 0,
    "clock_ahead_is_exact": True,
}
HEADER = "  sl  local_address rem_address st\n"
SOCKET = "  1: 00000000:0849 00000000:0000 07\n"
ROUTE = "Iface\tDestination\tGateway\neth0\t00000000\t0100A8C0\n"
ALL_RIGHTS = "Name:\tmeshnode\nCapEff:\t000001ffffffffff\n"
OPEN = {"nftables": [{"chain": {"hook": "input", "policy": "accept", "family": "inet", "table": "t", "name": "in"}}]}


class FakeMachine(Machine):
    """Files in a temporary directory, and answers by table."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ruleset: Any = OPEN
        self.names_known: list[str] | None = [OWN]
        self.synchronised: bool | None = True
        self.now = 1_800_000_000.0
        self.mtus: dict[str, int] = {"fips0": 1280, "eth0": 1500}
        self.proxies: dict[tuple[str, int], str | None] = {}

    def put(self, name: str, text: str = "") -> None:
        file = self.path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, *command: str) -> str | None:
        return None if self.ruleset is None else json.dumps(self.ruleset)

    def lookup(self, name: str) -> list[str] | None:
        assert name == f"{NPUB}.fips"
        return self.names_known

    def mtu(self, interface: str) -> int | None:
        return self.mtus.get(interface)

    def reach(self, host: str, port: int) -> str | None:
        return self.proxies.get((host, port), "connection refused")

    def wall(self) -> float:
        return self.now

    def clock_is_set(self) -> bool | None:
        return self.synchronised


class Case:
    """A healthy machine with a healthy node, on which a test plants a fault."""

    def __init__(self, root: Path) -> None:
        self.machine = FakeMachine(root)
        for name, text in {
            "/proc/77/status": ALL_RIGHTS,
            "/dev/net/tun": "",
            "/proc/net/route": ROUTE,
            "/proc/net/udp": HEADER + SOCKET,
            "/proc/net/ipv6_route": f"fd{'0' * 30} 08 {'0' * 32} 00 {'0' * 32} 0 0 0 0 fips0\n",
            "/proc/sys/net/core/rmem_max": "4194304\n",
            "/proc/sys/net/core/wmem_max": "4194304\n",
        }.items():
            self.machine.put(name, text)
        self.status: dict[str, Any] = {
            "pid": 77,
            "version": "1",
            "npub": NPUB,
            "ipv6_addr": OWN,
            "tun_name": "fips0",
            "tun_state": "active",
        }
        self.settings: dict[str, Any] = {"tun.enabled": True, "dns.enabled": True, "dns.port": 5354}
        self.transports: list[dict[str, Any]] = [dict(UDP)]
        self.link_counters = {"wrong_key": 0}
        self.peers: list[dict[str, Any]] = []
        self.library = "cryptography"

    def verdicts(self) -> list[Verdict]:
        answers = {
            "show_status": self.status,
            "show_transports": {"transports": self.transports},
            "show_peers": {"peers": self.peers},
            "show_metrics": {"link": self.link_counters},
            "show_config": {"settings": self.settings, "aead_library": self.library},
        }
        return list(examine(Patient(self.machine, answers)))

    def faults(self) -> list[tuple[str, str, str]]:
        return [(v.subject, v.text, v.fix or "") for v in self.verdicts() if v.level not in ("ok", "unknown")]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_healthy_machine_has_no_faults(case: Case) -> None:
    assert case.faults() == []
    subjects = {verdict.subject for verdict in case.verdicts()}
    assert subjects == {
        "node", "cipher", "rights", "interface", "names", "clock", "transports", "packet sizes", "firewall"
    }  # fmt: skip


Plant = Callable[[Case], object]

FAULTS: list[tuple[str, Plant, str, str, str]] = [
    (
        "slow cipher",
        lambda case: setattr(case, "library", "PyNaCl"),
        "cipher",
        "done by PyNaCl, which takes two and a half times as long",
        "install the cryptography package",
    ),
    (
        "rights",
        lambda case: case.machine.put("/proc/77/status", "CapEff:\t0000000000000000\n"),
        "rights",
        "the node lacks CAP_NET_ADMIN",
        "run it as root",
    ),
    (
        "no tun",
        lambda case: case.machine.path("/dev/net/tun").unlink(),
        "interface",
        "there is no /dev/net/tun",
        "modprobe tun",
    ),
    (
        "tun failed",
        lambda case: case.status.update(tun_state="failed"),
        "interface",
        "the interface is failed",
        "start it as root",
    ),
    (
        "interface gone",
        lambda case: case.machine.mtus.pop("fips0"),
        "interface",
        "fips0 is gone, though the node believes in it",
        "restart the node",
    ),
    (
        "ipv6 off",
        lambda case: case.machine.put("/proc/sys/net/ipv6/conf/fips0/disable_ipv6", "1\n"),
        "interface",
        "IPv6 is off on fips0",
        "sysctl net.ipv6.conf.fips0.disable_ipv6=0",
    ),
    (
        "route stolen",
        lambda case: case.machine.put("/proc/net/ipv6_route", f"fd{'0' * 30} 08 x y z 0 0 0 0 wg0\n"),
        "interface",
        "fd00::/8 goes to wg0 instead of fips0",
        "ip -6 route del",
    ),
    (
        "no names",
        lambda case: setattr(case.machine, "names_known", []),
        "names",
        "the resolver does not know names under .fips",
        "resolver: resolv-conf",
    ),
    (
        "foreign name",
        lambda case: setattr(case.machine, "names_known", ["::1"]),
        "names",
        f"the resolver gives ::1 for this node, which has {OWN}",
        "5354",
    ),
    (
        "no resolver",
        lambda case: setattr(case.machine, "names_known", None),
        "names",
        "the resolver does not answer",
        "/etc/resolv.conf",
    ),
    (
        "old clock",
        lambda case: setattr(case.machine, "now", 100.0),
        "clock",
        "the clock is years behind",
        "timedatectl",
    ),
    (
        "free clock",
        lambda case: setattr(case.machine, "synchronised", False),
        "clock",
        "nothing keeps the clock right",
        "timedatectl set-ntp true",
    ),
    (
        "transport down",
        lambda case: case.transports[0].update(state="starting"),
        "transports",
        "udp 1 is starting",
        "meshctl log show",
    ),
    ("no transport", lambda case: case.transports.clear(), "transports", "the node has no transport", "udp: {}"),
    (
        "shared port",
        lambda case: case.machine.put("/proc/net/udp", HEADER + SOCKET * 2),
        "transports",
        "2 programs listen at 0.0.0.0:2121",
        "ss -ulpn sport = :2121",
    ),
    (
        "small interface",
        lambda case: case.machine.mtus.update(eth0=1300),
        "packet sizes",
        "udp mtu 1280 does not fit eth0, whose packets have 1300 bytes",
        "mtu: 1272",
    ),
    (
        "black hole",
        lambda case: case.peers.append({**PEER, "link_mtu": 1200, "promised_mtu": 1472}),
        "packet sizes",
        "the path to bob swallows frames of more than 1200 bytes, though its udp promises 1472",
        "tracepath 10.0.0.2",
    ),
    (
        "relay that drops",
        lambda case: case.peers.append({**PEER, "trust": "black_hole", "npub": "npub1bob"}),
        "relays",
        "bob does not pass on what is sent through it",
        "meshctl acl deny npub1bob",
    ),
    (
        "wrong key",
        lambda case: case.link_counters.update(wrong_key=3),
        "keys",
        "3 handshakes for another key than this node's came in",
        "this node is npub1abc",
    ),
    (
        "clock of a peer",
        lambda case: case.peers.append({**PEER, "clock_ahead_secs": -7200}),
        "clock",
        "the clock of bob is 2h00m behind this one",
        "compare `date` on both machines",
    ),
    (
        "clock of a peer, as far as is known",
        lambda case: case.peers.append({**PEER, "clock_ahead_secs": 90, "clock_ahead_is_exact": False}),
        "clock",
        "the clock of bob is at least 1m30s ahead of this one",
        "compare `date` on both machines",
    ),
    (
        "clock of one peer among three",
        lambda case: case.peers.extend(
            [PEER, {**PEER, "display_name": "eve", "clock_ahead_secs": 86400}, {**PEER, "clock_ahead_secs": -2}]
        ),
        "clock",
        "the clock of eve is 1d00h ahead of this one",
        "compare `date` on both machines",
    ),
    (
        "clock here against two of three peers",
        lambda case: case.peers.extend([{**PEER, "clock_ahead_secs": 3600}, PEER, {**PEER, "clock_ahead_secs": 3700}]),
        "clock",
        "the clock here is 1h00m behind those of 2 of 3 peers",
        "timedatectl",
    ),
    (
        "small buffers",
        lambda case: case.machine.put("/proc/sys/net/core/rmem_max", "212992\n"),
        "buffers",
        "net.core.rmem_max is 212992",
        "sysctl net.core.rmem_max=4194304",
    ),
    (
        "drops",
        lambda case: case.transports[0].update(stats={"kernel_drops": 50, "packets_recv": 1000}),
        "buffers",
        "udp lost 50 frames",
        "recv_buf_size",
    ),
    (
        "tor",
        lambda case: case.transports.append({**UDP, "type": "tor", "transport_id": 2, "local_addr": ""}),
        "tor",
        "the proxy at 127.0.0.1:9050 does not answer: connection refused",
        "systemctl start tor",
    ),
    (
        "no adapter",
        lambda case: case.transports.append({**UDP, "type": "ble", "local_addr": ""}),
        "bluetooth",
        "there is no Bluetooth adapter",
        "plug one in",
    ),
]


@pytest.mark.parametrize(("plant", "subject", "text", "fix"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_planted_fault_is_the_only_one_and_has_a_remedy(
    case: Case, plant: Plant, subject: str, text: str, fix: str
) -> None:
    plant(case)
    ((found, said, remedy),) = case.faults()
    assert found == subject
    assert text in said
    assert fix in remedy


def rule(port: Any) -> dict[str, Any]:
    return {"rule": {"expr": [{"match": {"left": {"payload": {"field": "dport"}}, "op": "==", "right": port}}]}}


CLOSED = {"chain": {"hook": "input", "policy": "drop", "family": "inet", "table": "filter", "name": "input"}}


def test_a_firewall_without_a_word_about_our_port_is_named(case: Case) -> None:
    case.machine.ruleset = {"nftables": [CLOSED, rule(22)]}
    assert case.faults() == [
        (
            "firewall",
            "chain inet filter input drops by default and no rule speaks of udp port 2121",
            "nft add rule inet filter input udp dport 2121 accept",
        )
    ]


@pytest.mark.parametrize("verdict", ["drop", "reject"])
def test_a_rule_that_keeps_our_port_closed_is_named(case: Case, verdict: str) -> None:
    closing = {"family": "inet", "table": "t", "chain": "in", "handle": 7, "expr": [*rule(2121)["rule"]["expr"]]}
    closing["expr"] = [part for part in closing["expr"] if "accept" not in part] + [{verdict: None}]
    case.machine.ruleset = {"nftables": [*OPEN["nftables"], {"rule": closing}]}
    ((subject, text, fix),) = case.faults()
    assert (subject, text) == ("firewall", "a rule of chain inet t in keeps out what comes to udp port 2121")
    assert fix.endswith("nft delete rule inet t in handle 7")


def test_a_rule_for_what_leaves_or_for_another_port_is_no_fault(case: Case) -> None:
    outward = {"chain": {"hook": "output", "policy": "accept", "family": "inet", "table": "t", "name": "out"}}
    drop = {"family": "inet", "table": "t", "handle": 7}
    rules = [
        {"rule": {**drop, "chain": "out", "expr": [{"match": {"right": 2121}}, {"drop": None}]}},
        {"rule": {**drop, "chain": "in", "expr": [{"match": {"right": 22}}, {"drop": None}]}},
    ]
    case.machine.ruleset = {"nftables": [*OPEN["nftables"], outward, *rules]}
    assert case.faults() == []


def test_a_firewall_that_lets_answers_through_keeps_only_diallers_out(case: Case) -> None:
    tracked = {"rule": {"expr": [{"match": {"left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}]}}
    case.machine.ruleset = {"nftables": [CLOSED, tracked]}
    ((_, text, _),) = case.faults()
    assert text.endswith("udp port 2121: nobody can dial this node, which itself can")
    assert {v.level for v in case.verdicts() if v.subject == "firewall"} == {"hint"}


@pytest.mark.parametrize("port", [2121, {"set": [22, 2121]}, {"set": [2121, 22]}, {"range": [2000, 3000]}])
def test_a_firewall_that_lets_our_port_through_is_well(case: Case, port: Any) -> None:
    case.machine.ruleset = {"nftables": [CLOSED, rule(port)]}
    assert case.faults() == []


def test_rules_that_cannot_be_read_are_no_fault(case: Case) -> None:
    case.machine.ruleset = None
    assert case.faults() == []
    assert [v.text for v in case.verdicts() if v.level == "unknown"] == ["the rules cannot be read"]


def bluetooth(case: Case) -> Case:
    case.transports.append({**UDP, "type": "ble", "local_addr": ""})
    case.machine.put("/sys/class/bluetooth/hci0/address")
    case.machine.put("/sys/class/rfkill/rfkill0/type", "bluetooth\n")
    case.machine.put("/sys/class/rfkill/rfkill0/soft", "0\n")
    case.machine.put("/run/dbus/system_bus_socket")
    return case


def test_a_bluetooth_adapter_that_is_on_is_well(case: Case) -> None:
    assert bluetooth(case).faults() == []


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("/sys/class/rfkill/rfkill0/soft", "1\n", "Bluetooth is blocked"),
        ("/sys/class/rfkill/rfkill0/hard", "1\n", "a switch of the machine turns Bluetooth off"),
    ],
)
def test_a_blocked_adapter_is_named(case: Case, file: str, text: str, says: str) -> None:
    bluetooth(case).machine.put(file, text)
    assert [said for _, said, _ in case.faults()] == [says]


def test_bluez_without_a_bus_is_named(case: Case) -> None:
    bluetooth(case).machine.path("/run/dbus/system_bus_socket").unlink()
    assert case.faults() == [("bluetooth", "there is no D-Bus, which BlueZ needs", "apt-get install dbus bluez")]


def test_a_tor_that_answers_is_well(case: Case) -> None:
    case.transports.append({**UDP, "type": "tor", "local_addr": ""})
    case.machine.proxies["127.0.0.1", 9050] = None
    assert case.faults() == []


def test_without_a_node_the_machine_is_examined_all_the_same(
    run: Callable[..., tuple[int, str, str]], daemon: Daemon
) -> None:
    daemon.answers["show_status"] = {"status": "error", "message": "no such luck"}
    status, out, _err = run("doctor")
    assert status == 1
    assert out.startswith("!   node: no such luck\n      sudo systemctl start meshnode")
    assert "clock" in out


def test_programs_get_json(run: Callable[..., tuple[int, str, str]], daemon: Daemon) -> None:
    _status, out, _err = run("doctor", "--json")
    verdicts = json.loads(out)["verdicts"]
    assert {"subject", "level", "text", "fix"} == set(verdicts[0])


def test_the_real_machine_answers() -> None:
    machine = Machine()
    assert machine.mtu("lo") is not None
    assert machine.mtu("nothing-here") is None
    assert machine.lookup("localhost") is not None
    assert machine.run("true") == ""
    assert machine.run("false") is None
    assert machine.run("no-such-program") is None
    assert machine.clock_is_set() in (True, False, None)
    assert machine.reach("127.0.0.1", 1) == "connection refused"
