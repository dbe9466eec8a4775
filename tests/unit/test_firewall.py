"""The firewall of the mesh interface: its rules, and whom it gives way to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twisted.internet.defer import ensureDeferred

from meshnode.ipv6.commands import NOT_RUN, Finished
from meshnode.ipv6.firewall import MARK, REMOVAL, Firewall, FirewallError, ruleset


class Nft:
    """Answers like nft: a table there is, or none; and what it says to rules."""

    def __init__(self, table: str | None = None, complaint: str = "", status: int = 0) -> None:
        self.table = table
        self.loaded: list[str] = []
        self._answer = Finished(1 if complaint else status, b"", complaint.encode())

    async def __call__(self, arguments: Sequence[str], *, text: str = "") -> Finished:
        if arguments[1] == "list":
            return Finished(1, b"", b"") if self.table is None else Finished(0, self.table.encode(), b"")
        self.loaded.append(text)
        return self._answer


def install(nft: Nft, interface: str = "fips0", drop_ins: str = "/etc/fips/fips.d") -> Firewall:
    firewall = Firewall(interface, [80, 22], [], drop_ins, nft)
    failures: list[BaseException] = []
    ensureDeferred(firewall.install()).addErrback(lambda reason: failures.append(reason.value))
    if failures:
        raise failures[0]
    return firewall


def test_the_rules_are_those_of_the_baseline_with_the_ports_before_the_end() -> None:
    text = ruleset("fips0", [80, 22, 80], [53], "/etc/fips/fips.d")
    chain = [line.strip() for line in text.partition("policy accept;")[2].splitlines() if line.strip()]
    assert chain == [
        'iifname != "fips0" return',
        "ct state established,related accept",
        "meta nfproto ipv6 icmpv6 type echo-request accept",
        "tcp dport { 22, 80 } accept",
        "udp dport { 53 } accept",
        'include "/etc/fips/fips.d/*.nft"',
        "counter drop",
        "}",
        "}",
    ]


def test_old_rules_go_in_the_transaction_that_brings_the_new_ones() -> None:
    nft = Nft(f'table inet fips {{\n\tcomment "{MARK}"\n}}')
    install(nft)
    (text,) = nft.loaded
    assert text.startswith(REMOVAL)


def test_a_table_somebody_else_loaded_is_left_alone() -> None:
    nft = Nft("table inet fips {\n\tchain inbound {\n\t}\n}")
    with pytest.raises(FirewallError, match="was not made by this program: remove it"):
        install(nft)
    assert nft.loaded == []


def test_what_was_installed_is_removed_once_and_nothing_else() -> None:
    nft = Nft()
    firewall = install(nft)
    for _ in range(2):
        ensureDeferred(firewall.remove())
    assert nft.loaded[1:] == [REMOVAL]
    other = Nft()
    ensureDeferred(Firewall("fips0", [], [], "/x", other).remove())
    assert other.loaded == []


@pytest.mark.parametrize(
    ("nft", "reason"),
    [
        (Nft(complaint="/etc/fips/fips.d/x.nft:1:1-4: Error: syntax error\nmore"), "x.nft:1:1-4: Error: syntax error$"),
        (Nft(status=NOT_RUN), "install nftables"),
        (Nft(status=-9), "nft ended with status -9"),
    ],
)
def test_what_stands_in_its_way_is_one_line(nft: Nft, reason: str) -> None:
    with pytest.raises(FirewallError, match=reason):
        install(nft)


@pytest.mark.parametrize(
    ("interface", "drop_ins"), [('x"y', "/d"), ("fips0", '/d"\ninclude "/etc/shadow'), ("a;b", "/d")]
)
def test_names_that_could_become_rules_are_refused(interface: str, drop_ins: str) -> None:
    with pytest.raises(FirewallError, match="use plain letters"):
        install(Nft(), interface, drop_ins)
