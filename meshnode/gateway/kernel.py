"""What the gateway changes in the kernel: translation rules, the way to the pool, who answers for whom on the LAN.

Everything here can be repeated and taken back at any time, by a later run too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from meshnode.ipv6.commands import MAX_OUTPUT, Finished, Run

from .pool import Lease
from .rules import REMOVAL, TABLE, Forward, Surroundings, ruleset

_EXISTS = b"File exists"
_GONE = b"No such file"
_BATCH_LINE = b"Command failed"
"""How the ip program begins the line that says which line of a batch failed."""
_SYSCTL = Path("/proc/sys/net/netfilter")
_TIMEOUTS = {
    "tcp_established": ("nf_conntrack_tcp_timeout_established",),
    "udp_timeout": ("nf_conntrack_udp_timeout",),
    "udp_assured": ("nf_conntrack_udp_timeout_stream",),
    "icmp_timeout": ("nf_conntrack_icmpv6_timeout", "nf_conntrack_icmp_timeout"),
}


Present = Callable[[], Collection[str]]


def interfaces() -> set[str]:
    """The names of this machine's interfaces."""
    return {name for _, name in socket.if_nameindex()}


class KernelError(Exception):
    """The kernel refused; the text is one line with the command's own words."""


class Kernel:
    """The gateway's part of the kernel's state. `run` executes a command, `present` tells the interfaces there are."""

    def __init__(
        self, around: Surroundings, forwards: Sequence[Forward], run: Run, present: Present = interfaces
    ) -> None:
        self.around = around
        self.in_force: frozenset[bytes] = frozenset()
        """Lent addresses that the kernel translates."""
        self._forwards = forwards
        self._run = run
        self._present = present
        self._route_added = False
        self._answering: set[bytes] = set()
        self._forgotten: set[bytes] = set()
        """Those of `_answering` that the kernel knows no more on some interface."""

    async def load(self, leases: Iterable[Lease]) -> None:
        """Put the rules for `leases` in force, in one transaction, and answer for their addresses on the LAN.

        Raises `KernelError`; the rules are then as they were.
        """
        wanted = list(leases)
        await self._nft(ruleset(self.around, wanted, self._forwards))
        addresses = {lease.virtual for lease in wanted}
        await self._answer_for(sorted(addresses - (self._answering - self._forgotten)))
        await self._leave(sorted(self._answering - addresses))
        self.in_force = frozenset(addresses)

    @property
    def installed(self) -> int:
        """Mappings in the rules that are in force."""
        return len(self.in_force)

    async def find_losses(self) -> list[str]:
        """What the kernel has no more, a clause each; `load` and `add_route` then bring it back."""
        losses = []
        if await self._has_lost_rules():
            losses.append("somebody removed the gateway's rules (a firewall loaded anew?)")
        if await self._has_lost_route():
            losses.append(f"somebody removed the route to the pool {self.around.prefix.text}")
        return losses + [
            f"nobody answered on {interface} for lent addresses (was it down?)"
            for interface in await self._find_lost_answers()
        ]

    async def _has_lost_rules(self) -> bool:
        done = await self._run(["nft", "list", "chain", "inet", TABLE, "input"])
        return bool(done.status) and _GONE in done.errors

    async def _has_lost_route(self) -> bool:
        network = self.around.prefix.network
        done = await self._run(["ip", "-6", "route", "show", "table", "local", network, "dev", "lo"])
        return not done.status and not done.output.strip()

    async def _find_lost_answers(self) -> list[str]:
        """An interface that goes down, or away, takes with it what was answered for on it."""
        expected = frozenset(self._answering)
        if not expected:
            return []
        done = await self._run(["ip", "-6", "neigh", "show", "proxy"])
        if done.status:
            return []
        seen = _proxied(done.output)
        is_whole = len(done.output) < MAX_OUTPUT
        # Of what is longer than is read, as much as one address tells that the interface was not down.
        lost = {
            interface: expected - seen.get(interface, set())
            for interface in self._here()
            if is_whole or not seen.get(interface)
        }
        self._forgotten = {address for addresses in lost.values() for address in addresses}
        return [interface for interface, addresses in lost.items() if addresses]

    async def add_route(self) -> None:
        """Let the kernel take packets to the pool. Raises `KernelError`."""
        done = await self._run(["ip", "-6", "route", "add", "local", self.around.prefix.network, "dev", "lo"])
        if done.status and _EXISTS not in done.errors:
            raise KernelError(f"no route to the pool {self.around.prefix.text}: {_words(done)}")
        self._route_added = self._route_added or not done.status

    def adopt_route(self) -> None:
        """The route is left over from a run that was killed: it is ours to remove."""
        self._route_added = True

    async def remove(self) -> list[str]:
        """Take everything back; returns a line for each thing that would not go."""
        problems: list[str] = []
        await self._leave(sorted(self._answering))
        if self._route_added:
            self._route_added = False
            problems += await self.remove_route_to(self.around.prefix.network)
        return problems + await self.remove_table()

    async def remove_table(self) -> list[str]:
        """Remove the rules, whoever loaded them; returns a line if they would not go."""
        self.in_force = frozenset()
        try:
            await self._nft(REMOVAL)
        except KernelError as error:
            return [str(error)]
        return []

    async def remove_route_to(self, pool: str) -> list[str]:
        """Remove the way to a pool; returns a line if it would not go."""
        done = await self._run(["ip", "-6", "route", "del", "local", pool, "dev", "lo"])
        return [f"the route to the pool {pool} stays: {_words(done)}"] if done.status else []

    async def forget_neighbours(self, local: Iterable[str], addresses: Sequence[bytes]) -> None:
        """Stop answering on interfaces `local` for addresses that a run before this one answered for."""
        await self._neighbours("del", local, addresses)

    async def _answer_for(self, addresses: Sequence[bytes]) -> None:
        done = await self._neighbours("add", self._here(), addresses)
        complaints = [line for line in done.errors.splitlines() if not line.startswith(_BATCH_LINE)]
        if done.status and not (complaints and all(_EXISTS in line for line in complaints)):
            words = next((line for line in complaints if _EXISTS not in line), b"").decode(errors="replace").strip()
            raise KernelError(
                f"this machine cannot answer for lent addresses on {', '.join(self.around.local)}: "
                f"{words or f'exit status {done.status}'}"
            )
        self._answering.update(addresses)
        self._forgotten.difference_update(addresses)

    def _here(self) -> list[str]:
        """The local networks' interfaces that are there; one that comes back is found to answer for nothing."""
        present = self._present()
        return [interface for interface in self.around.local if interface in present]

    async def _leave(self, addresses: Sequence[bytes]) -> None:
        self._answering.difference_update(addresses)
        await self._neighbours("del", self.around.local, addresses)  # some may be gone, together with their interface

    async def _neighbours(self, verb: str, interfaces: Iterable[str], addresses: Sequence[bytes]) -> Finished:
        """Change for whom the kernel answers: one process, as a hundred hosts may ask for a hundred names at a time."""
        text = "".join(
            f"neigh {verb} proxy {IPv6Address(address)} dev {interface}\n"
            for interface in interfaces
            for address in addresses
        )
        return await self._run(["ip", "-6", "-force", "-batch", "-"], text=text) if text else Finished(0, b"", b"")

    async def _nft(self, text: str) -> None:
        done = await self._run(["nft", "-f", "-"], text=text)
        if done.status:
            raise KernelError(f"nft refused the rules: {_words(done)}")


class Changes:
    """Puts decisions into force one transaction at a time; whoever waits meanwhile shares the next one."""

    def __init__(self, load: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._load = load
        self._waiting: list[Deferred[None]] = []
        self._loading: Deferred[None] | None = None
        self._ended = False

    async def apply(self) -> None:
        """Return once everything decided before this call is in force. Raises `KernelError`."""
        mine: Deferred[None] = Deferred()
        self._waiting.append(mine)
        if self._loading is None:
            self._loading = Deferred()
            ensureDeferred(self._load_for_all(self._loading))
        await mine

    async def end(self) -> None:
        """Begin no further transaction, and return when none is under way; who waits for one waits in vain."""
        self._ended = True
        if self._loading is not None:
            await self._loading

    async def _load_for_all(self, loading: Deferred[None]) -> None:
        while self._waiting and not self._ended:
            served, self._waiting = self._waiting, []
            trouble = await ensureDeferred(self._load()).addCallbacks(lambda _: None, lambda reason: reason.value)
            # Each in turn: a lock that they hand on to one another would call itself once for each.
            for one in served:
                if trouble is None:
                    one.callback(None)
                else:
                    one.errback(trouble)
        self._loading = None
        loading.callback(None)


def set_timeouts(values: Mapping[str, int], directory: Path = _SYSCTL) -> list[str]:
    """Set the connection tracking times that the file names, in seconds, for the whole machine; returns problems."""
    problems = []
    for key, seconds in values.items():
        for name in _TIMEOUTS[key]:
            try:
                (directory / name).write_text(f"{seconds}\n")
            except OSError as error:
                problems.append(f"gateway.conntrack.{key} is not set: {directory / name}: {error.strerror}")
    return problems


def _proxied(output: bytes) -> dict[str, set[bytes]]:
    """Read `ip -6 neigh show proxy`, lines like `fd01::1 dev eth1 proxy`: addresses by interface."""
    found: dict[str, set[bytes]] = {}
    for line in output.decode(errors="replace").splitlines():
        match line.split():
            case [address, "dev", interface, *_]:
                with suppress(AddressValueError):
                    found.setdefault(interface, set()).add(IPv6Address(address).packed)
    return found


def _words(done: Finished) -> str:
    return done.errors.decode(errors="replace").strip().partition("\n")[0] or f"exit status {done.status}"
