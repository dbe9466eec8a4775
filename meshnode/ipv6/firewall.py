"""What the mesh may reach on this machine: a baseline for the mesh interface in nftables (spec 07 section 9).

The table is made and replaced in one transaction, so there is never a moment with half of it. It bears a comment by
which it is known as ours: what a killed node left behind is replaced, while a table of the same name that somebody else
loaded is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from meshnode.ipv6.commands import NOT_RUN, Finished, Run
from meshnode.ipv6.netsetup import NetworkSetupError

TABLE: Final = "inet fips"
MARK: Final = "made by meshnode"
REMOVAL: Final = f"add table {TABLE}\ndelete table {TABLE}\n"
_UNSAFE = re.compile(r'["\\\n\r;{}*?\[\]]')


class FirewallError(NetworkSetupError):
    """The firewall cannot be put in place; the text is one line with cause and remedy."""


def ruleset(interface: str, tcp: Sequence[int], udp: Sequence[int], drop_ins: str) -> str:
    """The whole transaction: whatever table there was goes, and the new one comes, at one moment."""
    accepts = [
        f"    {protocol} dport {{ {', '.join(map(str, sorted(set(ports))))} }} accept\n"
        for protocol, ports in (("tcp", tcp), ("udp", udp))
        if ports
    ]
    return (
        f"{REMOVAL}"
        f"table {TABLE} {{\n"
        f'  comment "{MARK}"\n'
        "  chain inbound {\n"
        "    type filter hook input priority 0; policy accept;\n"
        f'    iifname != "{interface}" return\n'
        "    ct state established,related accept\n"
        "    meta nfproto ipv6 icmpv6 type echo-request accept\n"
        f"{''.join(accepts)}"
        f'    include "{drop_ins}/*.nft"\n'
        "    counter drop\n"
        "  }\n"
        "}\n"
    )


class Firewall:
    """The baseline for `interface`: answers, echo requests and the listed ports come in, and what `drop_ins` add.

    `drop_ins` is a directory whose `*.nft` files hold bare rules.
    """

    def __init__(self, interface: str, tcp: Sequence[int], udp: Sequence[int], drop_ins: str, run: Run) -> None:
        self._interface = interface
        self._tcp, self._udp = tcp, udp
        self._drop_ins = drop_ins.rstrip("/") or "/"
        self._run = run
        self._is_installed = False

    async def install(self) -> None:
        """Put the rules in place, instead of what a node before us left. Raises `FirewallError`."""
        for text in (self._interface, self._drop_ins):
            if _UNSAFE.search(text):
                raise FirewallError(f"the firewall cannot be set up for the name {text!r}: use plain letters")
        if await self._is_of_others():
            raise FirewallError(
                f"a table `{TABLE}` of nftables is there already and was not made by this program: "
                f"remove it (nft delete table {TABLE}) or set meshnode.firewall.enabled to false"
            )
        rules = ruleset(self._interface, self._tcp, self._udp, self._drop_ins)
        done = await self._run(["nft", "-f", "-"], text=rules)
        if done.status != 0:
            raise FirewallError(f"the firewall cannot be set up: {_words(done)}")
        self._is_installed = True

    async def remove(self) -> None:
        """Take our rules away. Raises `FirewallError`."""
        if not self._is_installed:
            return
        self._is_installed = False
        done = await self._run(["nft", "-f", "-"], text=REMOVAL)
        if done.status != 0:
            raise FirewallError(f"the firewall stays: {_words(done)}; remove it with nft delete table {TABLE}")

    async def _is_of_others(self) -> bool:
        found = await self._run(["nft", "list", "table", *TABLE.split()])
        return found.status == 0 and f'comment "{MARK}"'.encode() not in found.output


def _words(done: Finished) -> str:
    if done.status == NOT_RUN:
        return "nft is not there; install nftables, or set meshnode.firewall.enabled to false"
    lines = done.errors.decode("utf-8", "replace").strip().splitlines()
    error = next((line for line in lines if "Error" in line), lines[0] if lines else "")
    return error or f"nft ended with status {done.status}"
