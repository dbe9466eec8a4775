"""The gateway's part of the kernel: rules, flows, commands, what a killed run leaves (spec 07 sections 2.2, 3)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed

from meshnode.gateway.conntrack import flows, read_flows, sessions
from meshnode.gateway.kernel import Changes, Kernel, KernelError, set_timeouts
from meshnode.gateway.pool import Lease, Prefix
from meshnode.gateway.rules import Forward, Surroundings, ruleset
from meshnode.gateway.store import Remembered, Store
from meshnode.ipv6.commands import Finished

EXPECTED = """\
table inet fips_gateway
delete table inet fips_gateway
table inet fips_gateway {
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    meta nfproto ipv6 ip6 daddr fd01::1 dnat ip6 to fd97:1::1
    iifname "fips0" meta nfproto ipv6 meta l4proto tcp tcp dport 18080 dnat ip6 to [fd02::20]:8080
    iifname "fips0" meta nfproto ipv6 meta l4proto udp udp dport 18081 dnat ip6 to [fd02::20]:8081
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname "fips0" masquerade
    meta nfproto ipv6 ip6 saddr fd97:1::1 snat ip6 to fd01::1
    iifname "fips0" oifname "eth1" meta nfproto ipv6 masquerade
  }
  chain input {
    type filter hook input priority 0; policy accept;
    ip6 daddr fd01::1-fd01::ffff reject with icmpv6 type addr-unreachable
  }
}
"""
FORWARDS = [Forward(18080, "tcp", "[fd02::20]:8080"), Forward(18081, "udp", "[fd02::20]:8081")]
FLOW = (
    "ipv6     10 tcp      6 431999 ESTABLISHED src=fd02:0000:0000:0000:0000:0000:0000:0020 "
    "dst=fd01:0000:0000:0000:0000:0000:0000:000{} sport=1 dport=80 src=fd97:0001:0000:0000:0000:0000:0000:0001 "
    "dst=fd11:0000:0000:0000:0000:0000:0000:0001 sport=80 dport=1 [ASSURED] mark=0 use=2\n"
)


def ip(text: str) -> bytes:
    return IPv6Address(text).packed


def lease(virtual: str = "fd01::1", mesh: str = "fd97:1::1") -> Lease:
    return Lease(ip(virtual), ip(mesh), "x.fips", 0.0, 0.0)


def around(*local: str, own: Sequence[str] = ()) -> Surroundings:
    return Surroundings("fips0", local or ("eth1",), Prefix("fd01::/112"), [ip(address) for address in own])


class Commands:
    """Notes what is run; answers as told by the first word of a command, and what it is to print by all of them.

    The lines of a batch are noted as if each were run by itself; `processes` tells how many were started.
    """

    def __init__(self, **failures: str) -> None:
        self.run: list[str] = []
        self.processes = 0
        self.texts: list[str] = []
        self.failures = failures
        self.shown: dict[str, str] = {}

    def __call__(self, arguments: Sequence[str], *, text: str = "") -> Awaitable[Finished]:
        self.processes += 1
        is_batch = "-batch" in arguments
        self.run += [f"ip -6 {line}" for line in text.splitlines()] if is_batch else [" ".join(arguments)]
        self.texts.append(text)
        error = self.failures.get(arguments[0])
        shown = self.shown.get(self.run[-1], "")
        return succeed(Finished(1, b"", error.encode()) if error else Finished(0, shown.encode(), b""))


def test_the_whole_table_is_one_transaction() -> None:
    assert ruleset(around(), [lease()], FORWARDS) == EXPECTED


def test_without_forwards_the_lan_is_not_masqueraded() -> None:
    assert 'oifname "eth1"' not in ruleset(around(), [lease()], [])


def test_several_networks_and_addresses_of_this_machine_within_the_pool() -> None:
    text = ruleset(around("eth1", "wlan0", own=["fd01::5"]), [], FORWARDS)
    assert 'iifname "fips0" oifname { "eth1", "wlan0" } meta nfproto ipv6 masquerade' in text
    assert "ip6 daddr fd01::1-fd01::ffff ip6 daddr != { fd01::5 } reject" in text


def test_connections_are_counted_by_the_value_of_their_original_destination() -> None:
    lines = [
        FLOW.format(1),
        FLOW.format(1),
        FLOW.format(2),
        "ipv4 2 tcp 6 src=1.2.3.4 dst=5.6.7.8\n",
        "ipv6 junk\n",
        "\n",
    ]
    assert sessions(flows(lines)) == {ip("fd01::1"): 2, ip("fd01::2"): 1}


def test_only_flows_into_the_pool_are_kept(tmp_path: Path) -> None:
    table = tmp_path / "nf_conntrack"
    table.write_text(FLOW.format(1) + FLOW.format(1).replace("dst=fd01", "dst=fd05"))
    found = read_flows(Prefix("fd01::/112"), table)
    assert found is not None
    assert [(flow.destination, flow.answered_by) for flow in found] == [(ip("fd01::1"), ip("fd97:1::1"))]


def done(result: Awaitable[object]) -> object:
    """The result of what does not really wait."""
    results: list[object] = []
    ensureDeferred(result).addBoth(results.append)  # type: ignore[arg-type]
    return results[0]


def test_loading_puts_rules_first_and_answers_for_new_addresses_only() -> None:
    commands = Commands()
    kernel = Kernel(around(), [], commands, lambda: ["eth1"])
    done(kernel.load([lease()]))
    done(kernel.load([lease(), lease("fd01::2", "fd97::2")]))
    done(kernel.load([lease("fd01::2", "fd97::2")]))
    assert commands.run == [
        "nft -f -",
        "ip -6 neigh add proxy fd01::1 dev eth1",
        "nft -f -",
        "ip -6 neigh add proxy fd01::2 dev eth1",
        "nft -f -",
        "ip -6 neigh del proxy fd01::1 dev eth1",
    ]
    assert kernel.in_force == {ip("fd01::2")}


ROUTE = "ip -6 route show table local fd01::/112 dev lo"
PROXIES = "ip -6 neigh show proxy"
WHOLE = {ROUTE: "local fd01::/112 metric 1024", PROXIES: "fd01::1 dev eth1 proxy \n"}


@pytest.mark.parametrize(
    ("complaint", "lost"),
    [("", False), ("Error: No such file or directory\nlist chain", True), ("Error: Resource busy", False)],
)
def test_rules_are_lost_only_when_the_kernel_has_none(complaint: str, lost: bool) -> None:
    commands = Commands(nft=complaint)
    commands.shown = WHOLE
    losses = ["somebody removed the gateway's rules (a firewall loaded anew?)"] if lost else []
    assert done(Kernel(around(), [], commands).find_losses()) == losses


@pytest.mark.parametrize(("shown", "lost"), [("local fd01::/112 metric 1024 pref medium", []), ("", ["route"])])
def test_a_route_to_the_pool_that_somebody_removed_is_found_missing(shown: str, lost: list[str]) -> None:
    commands = Commands()
    commands.shown = {ROUTE: shown}
    losses = ["somebody removed the route to the pool fd01::/112"] if lost else []
    assert done(Kernel(around(), [], commands).find_losses()) == losses


def test_answers_that_an_interface_took_with_it_come_back_with_the_interface() -> None:
    commands, present = Commands(), ["eth1", "wlan0"]
    kernel = Kernel(around("eth1", "wlan0"), [], commands, lambda: present)
    leases = [lease(), lease("fd01::2", "fd97::2")]
    done(kernel.load(leases))
    everywhere = "".join(f"fd01::{n} dev {name} proxy \n" for n in (1, 2) for name in present)
    commands.shown = {**WHOLE, PROXIES: everywhere}
    assert done(kernel.find_losses()) == []
    commands.shown[PROXIES] = "fd01::2 dev eth1 proxy\nfd01::1 dev eth1  proxy\nnonsense dev wlan0 proxy\n\n"
    present.remove("wlan0")
    assert done(kernel.find_losses()) == [], "nothing can be done before it is there again"
    present.append("wlan0")
    assert done(kernel.find_losses()) == ["nobody answered on wlan0 for lent addresses (was it down?)"]
    commands.run.clear()
    done(kernel.load(leases))
    assert [command for command in commands.run if command.endswith("dev wlan0")] == [
        "ip -6 neigh add proxy fd01::1 dev wlan0",
        "ip -6 neigh add proxy fd01::2 dev wlan0",
    ]
    commands.run.clear()
    done(kernel.load(leases))
    assert commands.run == ["nft -f -"]


def test_many_addresses_at_once_take_one_process_and_so_does_giving_them_back() -> None:
    commands = Commands()
    kernel = Kernel(around("eth1", "wlan0"), [], commands, lambda: ["eth1", "wlan0"])
    leases = [lease(f"fd01::{number:x}", f"fd97::{number:x}") for number in range(1, 201)]
    done(kernel.load(leases))
    assert (commands.processes, len(commands.run)) == (2, 1 + 400)
    done(kernel.remove())
    assert (commands.processes, len(commands.run)) == (4, 2 + 800)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ("RTNETLINK answers: File exists\nCommand failed -:1\n", None),
        ("RTNETLINK answers: File exists\nCommand failed -:1\nRTNETLINK answers: No buffer\nCommand failed -:2\n",
         "this machine cannot answer for lent addresses on eth1: RTNETLINK answers: No buffer"),
        ("", "this machine cannot answer for lent addresses on eth1: exit status 1"),
    ],
)  # fmt: skip
def test_answering_twice_for_an_address_is_no_fault_and_anything_else_is(errors: str, told: str | None) -> None:
    def run(arguments: Sequence[str], *, text: str = "") -> Awaitable[Finished]:
        return succeed(Finished(int(arguments[0] == "ip"), b"", errors.encode()))

    kernel = Kernel(around(), [], run, lambda: ["eth1"])
    outcome = done(kernel.load([lease()]))
    assert (None if outcome is None else str(outcome.value)) == told  # type: ignore[attr-defined]
    assert bool(kernel.in_force) is (told is None)


def test_more_answers_than_are_read_are_taken_to_be_there() -> None:
    commands = Commands()
    kernel = Kernel(around(), [], commands, lambda: ["eth1"])
    done(kernel.load([lease(), lease("fd01::2", "fd97::2")]))
    commands.shown = {**WHOLE, PROXIES: ("fd01::1 dev eth1 proxy \n" * 4000)[: 1 << 16]}
    assert done(kernel.find_losses()) == []


def test_an_interface_that_is_gone_is_no_reason_to_lend_nothing_on_the_others() -> None:
    commands = Commands()
    done(Kernel(around("eth1", "wlan0"), [], commands, lambda: ["eth1"]).load([lease()]))
    assert commands.run == ["nft -f -", "ip -6 neigh add proxy fd01::1 dev eth1"]


def test_refused_rules_leave_things_as_they_were_and_say_why() -> None:
    kernel = Kernel(around(), [], Commands(nft="Error: no such hook\nmore"), lambda: ["eth1"])
    failure = done(kernel.load([lease()]))
    assert isinstance(failure.value, KernelError)  # type: ignore[attr-defined]
    assert str(failure.value) == "nft refused the rules: Error: no such hook"  # type: ignore[attr-defined]
    assert kernel.in_force == frozenset()


def test_a_route_that_was_there_is_not_removed_and_one_of_ours_is() -> None:
    for errors, removed in (("RTNETLINK answers: File exists", False), ("", True)):
        commands = Commands(ip=errors) if errors else Commands()
        kernel = Kernel(around(), [], commands, lambda: ["eth1"])
        done(kernel.add_route())
        done(kernel.remove())
        assert ("ip -6 route del local fd01::/112 dev lo" in commands.run) == removed
        assert commands.run[-1] == "nft -f -"


def test_a_route_left_over_from_a_killed_run_is_ours_to_remove() -> None:
    commands = Commands(ip="RTNETLINK answers: File exists")
    kernel = Kernel(around(), [], commands, lambda: ["eth1"])
    kernel.adopt_route()
    done(kernel.add_route())
    done(kernel.remove())
    assert "ip -6 route del local fd01::/112 dev lo" in commands.run


def slow_changes() -> tuple[Changes, list[Deferred[None]]]:
    """Changes whose transactions end when the test says so, and those that began."""
    loads: list[Deferred[None]] = []

    def load() -> Deferred[None]:
        loads.append(Deferred())
        return loads[-1]

    return Changes(load), loads


def test_whoever_waits_while_rules_are_loaded_shares_the_next_transaction() -> None:
    changes, loads = slow_changes()
    waiting = [ensureDeferred(changes.apply()) for _ in range(5)]
    assert len(loads) == 1
    loads[0].callback(None)
    assert waiting[0].called
    assert not any(one.called for one in waiting[1:])
    loads[1].callback(None)
    assert all(one.called for one in waiting)
    assert len(loads) == 2


def test_what_is_under_way_at_the_end_is_waited_for_and_nothing_begins_after_it() -> None:
    changes, loads = slow_changes()
    for _ in range(2):
        ensureDeferred(changes.apply())
    ended = ensureDeferred(changes.end())
    ensureDeferred(changes.apply())
    assert not ended.called
    loads[0].callback(None)
    assert ended.called
    assert len(loads) == 1
    assert ensureDeferred(changes.end()).called


@pytest.mark.parametrize("refused", [False, True])
def test_any_number_may_wait_and_learn_what_became_of_it(refused: bool) -> None:
    changes, loads = slow_changes()
    first = ensureDeferred(changes.apply())
    others = [ensureDeferred(changes.apply()) for _ in range(2000)]
    others[7].cancel()
    others[7].addErrback(lambda reason: reason.trap(CancelledError))
    loads[0].callback(None)
    if refused:
        loads[1].errback(KernelError("no room"))
        said = [one.result.getErrorMessage() for one in others if one.result is not CancelledError]  # type: ignore[union-attr]
        assert said == ["no room"] * 1999
        for one in others:
            one.addErrback(lambda _: None)
    else:
        loads[1].callback(None)
        assert [one.result for one in others].count(None) == 1999
    assert first.result is None
    later = ensureDeferred(changes.apply())
    loads[2].callback(None)
    assert later.result is None


def test_times_are_set_where_the_file_names_them(tmp_path: Path) -> None:
    (tmp_path / "nf_conntrack_udp_timeout").write_text("30\n")
    assert set_timeouts({"udp_timeout": 45}, tmp_path) == []
    assert (tmp_path / "nf_conntrack_udp_timeout").read_text() == "45\n"
    (problem,) = set_timeouts({"tcp_established": 5}, tmp_path / "missing")
    assert problem.startswith("gateway.conntrack.tcp_established is not set: ")


def test_what_is_lent_is_found_again_after_a_crash_and_not_after_an_end(tmp_path: Path) -> None:
    store = Store("fd01::/112", ["eth1"], tmp_path / "gateway.json")
    assert store.load() is None
    store.save([lease()])
    record = Store("fd01::/112", ["eth1"], tmp_path / "gateway.json").load()
    assert record is not None
    assert record.leases == [Remembered(ip("fd01::1"), ip("fd97:1::1"), "x.fips")]
    store.remove()
    assert store.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pool": 1}', '{"pool":"x","local":[],"leases":[["fd01::1"]]}'])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(text)
    assert Store("fd01::/112", ["eth1"], path).load() is None


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store("fd01::/112", ["eth1"], tmp_path / "file" / "gateway.json")
    store.save([lease()])
    assert store.problem is not None
    assert "mappings will not survive a crash" in store.problem
