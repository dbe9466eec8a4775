"""One gateway: joins pool, names, kernel and control socket (spec 07 sections 1 to 5)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool

from meshnode.control.server import ControlServer
from meshnode.ipv6.commands import Run, command_runner
from meshnode.ipv6.dns_forward import Forwarder
from meshnode.ipv6.dns_message import TYPE_AAAA, encode_query, parse_query
from meshnode.ipv6.dns_socket import DnsBindError
from meshnode.mesh.rate_limit import IntervalLimiter, SourceBuckets
from meshnode.paths import GATEWAY_SOCKET, RUN_DIRECTORY

from .answers import GatewayAnswers
from .conntrack import Flow, read_flows, sessions
from .kernel import Changes, Kernel, KernelError, set_timeouts
from .listener import NameListener
from .listening import TCP, UDP, Listening
from .names import GatewayNames
from .plan import GatewayError, Plan, check, own_networks
from .pool import AddressPool, Lease
from .rules import Surroundings
from .store import RECORD, Store, restore

TICK_SECS = 10.0
PROBES = 5
PROBE_PAUSE_SECS = 1.0
ANSWER_SECS = 5.0
REMINDERS_PER_TICK = 32
NEW_NAMES_AT_ONCE, NEW_NAMES_PER_SECOND = 512, 32
"""How many names that nobody asked for before a host of the local network may ask for. What it gets so is rules for the
kernel and addresses of the pool, which the others need, too; where a resolver asks for all of them, it is their sum.
"""
SOCKET = f"{RUN_DIRECTORY}/{GATEWAY_SOCKET}"

Log = Callable[[str, str], None]
"""`log(level, text)`"""


def is_running(path: str = SOCKET) -> bool:
    """Whether a gateway answers at its control socket."""
    with socket.socket(socket.AF_UNIX) as knocking:
        return knocking.connect_ex(path) == 0


class Gateway:
    """Lends addresses for names until `stop`. `log` takes lines for the operator."""

    def __init__(
        self,
        plan: Plan,
        reactor: Any,
        log: Log,
        *,
        run: Run | None = None,
        record: Path = RECORD,
        path: str = SOCKET,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self._now = now
        self._reactor = reactor
        self._log = log
        own = {network.ip.packed for network, _ in own_networks() if network.ip.packed in plan.prefix}
        self._pool = AddressPool(plan.prefix, plan.section.dns.ttl, plan.section.pool_grace_period, own)
        around = Surroundings(plan.mesh, plan.local, plan.prefix, own)
        self._kernel = Kernel(around, plan.forwards, run or command_runner(reactor))
        self._changes = Changes(self._load)
        self._store = Store(plan.prefix.network, plan.local, record)
        self._node = Forwarder([plan.node], reactor, os.urandom, ANSWER_SECS)
        self.names = GatewayNames(self._node, self._lend, plan.section.dns.ttl, time.time, self._warn)
        self._listener = NameListener(plan.listen, self.names.answer, reactor)
        self._socket_path = path
        self._control: ControlServer | None = None
        self._ticks = LoopingCall(lambda: ensureDeferred(self._tick()))
        self._ticks.clock = reactor
        self._reminded = 0
        self._told: set[bytes] = set()
        """Addresses of which the log says whom they stand for."""
        self._newcomers = SourceBuckets(NEW_NAMES_AT_ONCE, NEW_NAMES_PER_SECOND, os.urandom(16), self._now())
        self._complaints: IntervalLimiter[str] = IntervalLimiter(TICK_SECS, TICK_SECS)

    # -- life

    def check(self) -> list[str]:
        """Look whether this machine can be a gateway; returns warnings. Raises `GatewayError`."""
        return check(self.plan)

    @property
    def listening(self) -> Listening:
        """Where names are asked."""
        return Listening("names", self.plan.listen, "gateway.dns.listen", (UDP, TCP))

    async def start(self) -> None:
        """Begin to serve. Raises `GatewayError`, and has then left nothing behind."""
        for warning in self.check():
            self._log("warn", warning)
        await self._reach_node()
        await self._be_alone()
        try:
            await self._prepare_kernel()
        except KernelError as error:
            await self._listener.stop()
            await self._kernel.remove()
            raise GatewayError(str(error)) from None
        self._listener.start()
        for problem in set_timeouts(self.plan.timeouts):
            self._log("warn", problem)
        if self.plan.timeouts:
            self._log("info", f"connection tracking times set for the whole machine: {', '.join(self.plan.timeouts)}")
        self._serve_control()
        running = self._ticks.start(TICK_SECS)
        running.addErrback(lambda reason: self._log("error", f"mappings are not looked after: {reason.value}"))
        self._log("info", f"fips-gateway running: {self._describe()}")

    async def stop(self, *, keep: bool = False) -> None:
        """Stop serving and take everything back; with `keep` leave the kernel as it is, for a run that follows."""
        if self._ticks.running:
            self._ticks.stop()
        await self._listener.stop()
        await self._changes.end()
        self._node.stop()
        if self._control is not None:
            await self._control.stop()
        self._log("info", f"{len(self._pool.leases)} of {self._pool.total} addresses were lent")
        if keep:
            self._store.save(self._pool.leases)
            self._log("info", "mappings and connections stay as they are for the run that follows")
            return
        for problem in await self.take_back():
            self._log("warn", problem)
        self._log("info", "fips-gateway shutdown complete")

    async def take_back(self) -> list[str]:
        """Remove what is in the kernel and what is remembered of it; returns a line for what would not go."""
        problems = await self._kernel.remove()
        self._store.remove()
        return problems

    def _describe(self) -> str:
        section = self.plan.section
        return f"{section.pool} on {', '.join(self.plan.local)}, names at {section.dns.listen}"

    # -- start, step by step

    async def _reach_node(self) -> None:
        """See whether the node answers questions at all (spec 07 section 1.2 step 5)."""
        for attempt in range(PROBES):
            if attempt:
                await deferLater(self._reactor, PROBE_PAUSE_SECS)
            if await self._probe():
                return
        raise GatewayError(
            f"the node does not answer questions at {self.plan.section.dns.upstream}; "
            "start it, or make gateway.dns.upstream what its dns section says"
        )

    async def _probe(self) -> bool:
        message = encode_query(0x1234, (b"test", b"fips"), TYPE_AAAA)
        answered: Deferred[bytes] = Deferred()
        prober = Forwarder([self.plan.node], self._reactor, os.urandom, 1.0)
        prober.ask(message, parse_query(message), answered.callback)
        await answered
        return prober.counters.answered > 0

    async def _be_alone(self) -> None:
        """Take the port, and see that no gateway with another one runs: what it has in the kernel would be ours."""
        try:
            self._listener.bind()
        except DnsBindError as error:
            raise GatewayError(str(error)) from None
        if is_running(self._socket_path):
            await self._listener.stop()
            raise GatewayError("another gateway runs on this machine; stop that one first")

    async def _prepare_kernel(self) -> None:
        left_behind = self._store.load()
        if left_behind is not None:
            await self._take_over(left_behind.pool, left_behind.local, [lease.virtual for lease in left_behind.leases])
            flows = await self._flows() or []
            count = restore(self._pool, left_behind.leases, flows, self._now())
            if count:
                self._log("info", f"{count} mappings of the run before this one are kept")
        await self._changes.apply()
        await self._kernel.add_route()
        self._store.save(self._pool.leases)

    async def _take_over(self, pool: str, local: list[str], addresses: list[bytes]) -> None:
        """Make what an earlier run left in the kernel ours: to be kept, or removed where it fits no more."""
        if pool == self.plan.prefix.network:
            self._kernel.adopt_route()
        else:
            await self._kernel.remove_route_to(pool)
        if pool != self.plan.prefix.network or local != list(self.plan.local):
            await self._kernel.forget_neighbours(local, addresses)

    def _serve_control(self) -> None:
        answers = GatewayAnswers(self.plan.section, self._pool, lambda: self._kernel.installed, self._now)
        self._control = ControlServer(self._socket_path, answers, self._reactor)
        problem = self._control.start()
        for line in [*self._control.warnings, *([problem] if problem else [])]:
            self._log("warn", line)
        if problem:
            self._control = None

    # -- lending

    async def _lend(self, mesh: bytes, name: str, client: str) -> bytes | None:
        """The address for the node at `mesh`, once the kernel translates it."""
        now = self._now()
        if self._pool.find(mesh) is None and not self._newcomers.allow(client.encode(), now):
            if self._complaints.allow("greedy", now):
                self._warn(f"{client} asks for more than {NEW_NAMES_PER_SECOND} new names a second, and must wait")
            return None
        lease = self._pool.lend(mesh, name, now)
        if lease is None:
            if self._complaints.allow("exhausted", now):
                self._warn(f"all {self._pool.total} addresses of {self.plan.section.pool} are lent: {name} must wait")
            return None
        if lease.virtual not in self._kernel.in_force:
            try:
                await self._changes.apply()
            except KernelError as error:
                self._log("error", f"{name} gets no address: {error}")
                return None
            if lease.virtual not in self._told:  # a host's questions for A and AAAA arrive together
                self._told.add(lease.virtual)
                self._log("info", f"{IPv6Address(lease.virtual)} stands for {lease.name}, {IPv6Address(mesh)}")
        return lease.virtual

    async def _load(self) -> None:
        leases: Iterable[Lease] = list(self._pool.leases)
        await self._kernel.load(leases)
        before = self._store.problem
        self._store.save(leases)
        if self._store.problem and self._store.problem != before:
            self._log("warn", self._store.problem)

    # -- time

    async def _tick(self) -> None:
        await self._mend_kernel()
        flows = await self._flows()
        ended = self._pool.tick(None if flows is None else sessions(flows), self._now())
        if ended:
            for lease in ended:
                self._told.discard(lease.virtual)
                self._log("info", f"{IPv6Address(lease.virtual)} is free again, it stood for {lease.name}")
            try:
                await self._changes.apply()
            except KernelError as error:
                self._log("error", f"unused mappings stay in the kernel: {error}")
        if self._control is None or not os.path.exists(self._socket_path):
            await self._restore_control()
        await self._remind_node()

    async def _mend_kernel(self) -> None:
        """Who loads a firewall of their own usually begins with `flush ruleset`, which takes everybody's rules away;
        and an interface that was down for a moment has forgotten for whom this machine answers there.
        """
        losses = await self._kernel.find_losses()
        if not losses:
            return
        try:
            await self._changes.apply()
            await self._kernel.add_route()
        except KernelError as error:
            self._log("error", f"{'; '.join(losses)}; that cannot be mended: {error}")
        else:
            self._log("warn", f"{'; '.join(losses)}; that is mended")

    async def _restore_control(self) -> None:
        """The socket's directory goes away when a service manager restarts the node beside us."""
        if self._control is not None:
            await self._control.stop()
        self._serve_control()

    async def _remind_node(self) -> None:
        """Ask the node for some lent names again: after a restart it knows nobody's key any more."""
        named = [lease.name for lease in self._pool.leases if lease.name]
        for _ in range(min(REMINDERS_PER_TICK, len(named))):
            self._reminded = (self._reminded + 1) % len(named)
            ensureDeferred(self.names.ask_node(named[self._reminded]))

    def _flows(self) -> Deferred[list[Flow] | None]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), read_flows, self.plan.prefix)

    def _warn(self, text: str) -> None:
        self._log("warn", text)
