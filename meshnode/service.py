"""`twistd meshnode`: from a configuration file to a running node, and back.

This is the one place that knows every part of the house. What may need privileges (sockets, the TUN device) happens in
`privilegedStartService`, before the reactor runs; what takes time (interface set-up, resolver) afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.usage import Options as UsageOptions

from meshnode import __version__
from meshnode.access import AccessControl, Refusal
from meshnode.carriers import Carriers
from meshnode.config.addresses import bad_peer_addresses
from meshnode.config.errors import ConfigError
from meshnode.config.features import unsupported, unusable_addresses
from meshnode.config.keyfile import Resolved, resolve_identity
from meshnode.config.keylock import KeyLock, secret_file
from meshnode.config.load import Loaded, load
from meshnode.config.schema import Config
from meshnode.config.shown import shown
from meshnode.config.validate import advice, validate
from meshnode.control.operators import OperatorSide
from meshnode.control.state import NodeState
from meshnode.control.status import Daemon
from meshnode.gateway.embedded import EmbeddedGateway
from meshnode.hooks import HookError, Hooks
from meshnode.identity import PeerIdentity
from meshnode.imports import leave_out_tls
from meshnode.ipv6.adapter import Ipv6Adapter
from meshnode.ipv6.commands import command_runner
from meshnode.ipv6.firewall import Firewall
from meshnode.ipv6.hosts import HostMap
from meshnode.ipv6.interface import MeshInterface
from meshnode.ipv6.name_service import NameService
from meshnode.ipv6.netsetup import NetworkSetupError
from meshnode.ipv6.tun import TunDevice
from meshnode.logs import OperatorLog, observer
from meshnode.mesh.settings import MeshSettings
from meshnode.node.core import Node
from meshnode.node.events import PeerRefused
from meshnode.node.peering import PeerConfig
from meshnode.node.surroundings import Surroundings
from meshnode.noise import LIBRARY
from meshnode.operator_files import WatchedAccess, WatchedHosts, WatchedKey
from meshnode.paths import CONTROL_SOCKET, HOSTS_NAME, companion_directory, key_directory, socket_path
from meshnode.process import MonotonicClock, choose_reactor, keep_keys_out_of_core_files, notify
from meshnode.reload import Reload, Running
from meshnode.rendezvous import Rendezvous
from meshnode.rights import NET_ADMIN, NET_RAW, Rights
from meshnode.settings import aliases, configured_peers, mesh_settings, passed_over
from meshnode.transports.network_watch import NetworkWatch

EXIT_CONFIGURATION = 78
"""`EX_CONFIG` of sysexits: a service manager need not try again until the file has changed."""

_log = Logger(namespace="meshnode")


class Options(UsageOptions):
    """The command line of the daemon (spec 05 section 1)."""

    longdesc = "Run a full node of a FIPS mesh until SIGTERM or SIGINT. Without -c the usual places are searched."
    optParameters = [["config", "c", None, "Read exactly this file instead of the search list."]]  # noqa: N815

    def getSynopsis(self) -> str:  # noqa: N802
        """Return the first line of the help text."""
        return "Usage: twistd --nodaemon meshnode [-c FILE], or: meshnode [-c FILE]"

    def opt_version(self) -> NoReturn:
        """Print the version and leave."""
        print(f"meshnode {__version__}")
        raise SystemExit(0)

    opt_V = opt_version  # noqa: N815


def makeService(options: Options) -> MeshnodeService:  # noqa: N802
    """Build the service `twistd` runs; a configuration that cannot be used ends the process with one line."""
    path = options["config"]
    loaded: Loaded | None = None
    try:
        loaded = load(None if path is None else Path(path), os.environ, Path.cwd())
        section = loaded.config.node.identity
        identity = resolve_identity(section, key_directory(loaded.paths), os.urandom)
        # From here on the key counts as configured, which is what operators are shown (spec 05 section 4).
        section.nsec = identity.identity.nsec
        validate(loaded.config, loaded.places)
        missing = unsupported(loaded.config, loaded.places)
        if missing:
            raise ConfigError("policy", "; ".join(missing), context="Failed to create node: ")
    except ConfigError as error:
        fail(_with_file(error, loaded), EXIT_CONFIGURATION)
    if not loaded.config.transports.tor and not loaded.config.transports.others:
        leave_out_tls()  # which txtorcon imports, and other people's carriers may use
    return MeshnodeService(loaded, identity, choose_reactor(), None if path is None else Path(path))


def _with_file(error: ConfigError, loaded: Loaded | None) -> str:
    """The error's line; a bad key in a file that loaded well is shown with its place there."""
    place = loaded.places.get("node.identity.nsec") if loaded is not None and error.problem == "identity" else None
    return f"{error}" if place is None else f"{error} in {place.file} line {place.line}"


def fail(line: str, status: int = 1) -> NoReturn:
    """End the start with one line on standard error."""
    print(line, file=sys.stderr)
    raise SystemExit(status)


class MeshnodeService(Service):
    """One node with everything around it (spec 05 section 8)."""

    def __init__(self, loaded: Loaded, identity: Resolved, reactor: Any, read_from: Path | None = None) -> None:
        """`read_from` is the file the configuration was read from, None for the search list."""
        self.setName("meshnode")
        directory = Path.cwd()  # a daemon changes it
        self._config_file = None if read_from is None else str(directory / read_from)
        self.loaded = loaded
        self.config: Config = loaded.config
        self.identity = identity.identity
        self._source = identity
        self._rights = Rights()
        self._reactor = reactor
        clock = MonotonicClock(reactor)
        log = self.config.meshnode.log
        self.log = OperatorLog(self.config.node.effective_log_level, log.by_subsystem, clock.seconds)
        secret = secret_file(loaded, identity.source, directory)
        self._key = WatchedKey(None if secret is None else KeyLock(secret, self.identity), reactor, self.log)
        self.peers = self._configured_peers(self.config)
        hosts_file = companion_directory(loaded.paths) / HOSTS_NAME
        self.hosts = WatchedHosts(HostMap(hosts_file, aliases(self.peers)), self.log)
        files = self.config.meshnode.access
        lists = AccessControl(
            Path(files.allow_file), Path(files.deny_file), self.hosts.map, clock.seconds, time.time, self._refused
        )
        self.access = WatchedAccess(lists, self.log)
        world = Surroundings(clock, time.time, os.urandom, random.SystemRandom(), self.hosts, self.log, self.access)
        settings: MeshSettings = mesh_settings(self.config.node)
        self.node = Node(self.identity, settings, world, self._fallback_mtu())
        self.interface = self._mesh_interface() if self.config.tun.enabled else None
        self.carriers = Carriers(
            self.node,
            self.config,
            loaded.places,
            reactor,
            key_directory(loaded.paths),
            lambda text: self._degrade(text, "transports"),
            lambda text: self.log("warn", text),
            self._transports_came,
        )
        self._network_watch = NetworkWatch(reactor, self._network_changed)
        self.rendezvous = Rendezvous(self.node, self.config, reactor)
        self.name_service: NameService | None = None
        self.operators: OperatorSide | None = None
        self._is_running = self._stopping = False
        self._lacking: set[str] = set()
        self.gateway = EmbeddedGateway(self.config, reactor, self.log)
        self.node.events.write = self.log
        self._hooks = Hooks(self.node.events, reactor, lambda text: self.log("warn", text))
        self._reload = Reload(
            Running(
                self.config,
                self.node,
                self.log,
                lists,
                self.hosts.map,
                self._hooks,
                self.carriers,
                self.gateway,
                self._configured_peers,
            ),
            lambda: load(read_from, os.environ, directory, may_wait=False),
        )
        self.socket_path = str(socket_path(self.config.node.control.socket_path, CONTROL_SOCKET, os.environ))

    def setServiceParent(self, parent: Any) -> None:  # noqa: N802
        """Belong to an application, and write its log in the form the configuration asks for."""
        write = observer(self.config.meshnode.log.format)
        if write is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, write)
        super().setServiceParent(parent)

    # -- start

    def privilegedStartService(self) -> None:  # noqa: N802
        """Open sockets and the TUN device; without any transport the process ends with exit status 1."""
        super().privilegedStartService()
        keep_keys_out_of_core_files()
        try:
            self._key.take()
        except ConfigError as error:
            fail(str(error))
        self._announce()
        self.hosts.report()
        self.access.report()
        if self.interface is not None:
            self.interface.prepare()
        self._start_transports()
        if self.interface is not None:
            self.interface.open()
        self._start_names()
        self._rights.prepare()

    def startService(self) -> None:  # noqa: N802
        """Begin to dial and to serve; interface and resolver follow as soon as the reactor runs."""
        super().startService()
        self._settle_rights()
        self._key.watch()
        self._start_hook()
        self._start_rendezvous()
        self.node.start(self.peers)
        self._start_operator_side()
        self._reactor.callWhenRunning(lambda: ensureDeferred(self._finish_start()))

    def _announce(self) -> None:
        self.log("info", f"FIPS {__version__} starting")
        for path in self.loaded.paths:
            self.log("info", f"Loaded config file path={path}")
        if not self.loaded.paths:
            self.log("info", "No config files found, using defaults")
        hints = [*advice(self.config), *unusable_addresses(self.config, self.carriers.from_plugins)]
        for warning in [*self.loaded.warnings, *self._source.warnings, *hints, *bad_peer_addresses(self.config)]:
            self.log("warn", warning)
        self.log("info", f"Encryption by {LIBRARY.name}")
        self.log("info", self._source.log_line)
        self.log("info", "Node created:")
        self.log("info", f"      npub: {self.identity.npub}")
        self.log("info", f" node_addr: {self.identity.node_addr.hex()}")
        self.log("info", f"   address: {self.identity.peer.ipv6_text}")
        self.log("info", f"     state: {self.node.state}")
        self.log("info", f" leaf_only: {str(self.config.node.leaf_only).lower()}")

    def _start_transports(self) -> None:
        self.carriers.start()
        if not len(self.node.transports):
            if self.interface is not None:
                self.interface.cancel()
            remedy = "see the lines above" if self.carriers.kinds else "none is configured; write transports: {udp: {}}"
            fail(f"Failed to start node: node start failed: no operational transports ({remedy})")
        self.log("info", "Transports initialized")

    def _start_names(self) -> None:
        dns = self.config.dns
        if not dns.enabled:
            return
        self.name_service = NameService(
            self.hosts.map,
            (dns.bind_addr, dns.port),
            dns.ttl,
            self.config.meshnode.resolver,
            self._name_resolved,
            self._reactor,
        )
        for problem in self.name_service.start():
            self._degrade(problem)

    def _start_rendezvous(self) -> None:
        problems = self.rendezvous.start()
        for problem in problems:
            self._degrade(problem, "rendezvous")
        if not problems:
            self._mended("rendezvous")

    def _transports_came(self) -> None:
        """Some started that could not before; what needs one may work now."""
        if not self.carriers.missing:
            self._mended("transports")
        self._start_rendezvous()

    def _start_operator_side(self) -> None:
        section = self.config.node.identity
        daemon = Daemon(
            self.socket_path,
            section.persistent or section.nsec is not None,
            tuple(self.carriers.kinds),
            self._interface_status,
            tuple(str(path) for path in self.loaded.paths),
            self.log,
            reload=self.reload,
            settings=lambda: shown(self.config),
            config_file=self._config_file,
            passed_over=lambda: self._passed_over,
        )
        state = NodeState(self.node, daemon, self._reactor)
        path = self.socket_path if self.config.node.control.enabled else None
        self.operators = OperatorSide(self.node, state, path, self.config.meshnode, self._reactor, self.log)
        self.operators.start()

    async def _finish_start(self) -> None:
        self._stop_on_signals()
        problem = self._network_watch.start()
        if problem is not None:
            self.log("warn", problem)
        if self.interface is not None:
            await self.interface.up()
            if self.operators is not None and self.interface.state == "active":
                self.operators.interface_up()
        self.log("info", "FIPS running")
        notify("READY=1")
        self._is_running = True
        await self._lead_names_to_us()
        problem = await self.gateway.follow(self.loaded.places)
        if problem is not None:
            self._degrade(problem)

    def _stop_on_signals(self) -> None:
        """Take SIGTERM and SIGINT as orders to stop in good order, exit status 0 (spec 05 section 1).

        The reactor's own handlers, installed by now, would make the process die of the signal after the stop.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop_reactor))
        # Who runs in a terminal ends with it; for a service the same signal is the order to read its files again.
        hung_up = self._stop_reactor if os.isatty(0) else self._reload_on_signal
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(hung_up))

    def reload(self) -> dict[str, Any]:
        """Read the configuration again and apply what can change while the node runs. Raises `ConfigError`."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            return self._reload()
        finally:
            notify("READY=1")

    def _reload_on_signal(self) -> None:
        with contextlib.suppress(ConfigError):  # which the log and the events tell of
            self.reload()

    def _settle_rights(self) -> None:
        try:
            self._rights.settle([NET_ADMIN, NET_RAW] if self.config.transports.ethernet else [NET_ADMIN])
        except OSError as error:
            fail(f"Failed to start node: the rights of root cannot be given up: {error}")

    def _start_hook(self) -> None:
        section = self.config.meshnode.hooks
        try:
            self._hooks.use(section.on_event, section.events)
        except HookError as error:
            self.log("warn", f"meshnode.hooks: {error}; the node runs without it")

    def _stop_reactor(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    # -- stop

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Say goodbye to peers and take back everything that was changed on this machine."""
        super().stopService()
        self.log("info", "FIPS shutting down")
        notify("STOPPING=1")
        stopped = ensureDeferred(self._stop())
        return stopped.addErrback(lambda reason: _log.failure("the node did not stop in good order", failure=reason))

    async def _stop(self) -> None:
        await self.gateway.stop()
        try:
            if self.operators is not None:
                await self.operators.stop()
            self._hooks.close()
            self.node.stop()
        finally:
            await self._take_back()
            self._key.release()
        self.log("info", "FIPS shutdown complete")

    async def _take_back(self) -> None:
        """Undo what was changed on this machine, the system resolver first: it alone would outlive the process."""
        if self.name_service is not None:
            problem = await self.name_service.stop()
            if problem is not None:
                self.log("warn", problem)
        self.carriers.stop()
        await self.rendezvous.stop()
        for transport in self.node.transports:
            await _maybe(transport.stop())
        self._network_watch.stop()
        if self.interface is not None:
            try:
                await self.interface.close()
            except NetworkSetupError as error:
                self.log("warn", str(error))

    # -- what lives on the interface (`InterfaceHost`)

    def interface_open(self, device: TunDevice) -> None:
        """Lead packets for this host to `device`."""
        clock = self.node.world.clock
        self.node.ipv6.interface = device.counters
        self.node.ipv6.adapter = Ipv6Adapter(
            self.identity.ipv6, self.node.ipv6, device, self.node.transports.mtu, clock.seconds
        )

    async def interface_up(self, name: str) -> None:
        """Tell; a resolver that was set up for an interface that vanished is set up again."""
        self._mended("interface")
        self.log("info", f"TUN {name} up: {self.identity.peer.ipv6_text}, mtu {self.config.tun.mtu}")
        if self._is_running:
            await self._lead_names_to_us()

    async def _lead_names_to_us(self) -> None:
        if self.interface is None or self.interface.device is None or self.name_service is None:
            return
        line = await self.name_service.interface_up(self.interface.name, may_configure=os.geteuid() == 0)
        if line is not None:
            self.log("info", line)

    def interface_down(self, reason: str) -> None:
        """Go on for everything else, without an interface until there is one again."""
        self.node.ipv6.adapter = None
        self._degrade(f"no TUN interface, everything else works: {reason}", "interface")

    def _interface_status(self) -> tuple[str, str]:
        interface = self.interface
        if interface is None:
            return "-", "disabled"
        return "-" if interface.device is None else interface.name, interface.state

    def packets_read(self, packets: list[bytes]) -> None:
        self.node.packets_read(packets)

    def burst_ended(self) -> None:
        self.node.burst_ended()

    # -- small things

    def _network_changed(self) -> None:
        if self.interface is not None:
            self.interface.network_changed()
        self.node.network_changed()
        self.rendezvous.network_changed()

    def _refused(self, refusal: Refusal, left_out: int) -> None:
        identity, (transport_id, address) = refusal.identity, refusal.path
        name = self.node.names.display(identity.node_addr)
        reason = refusal.decision.value
        self.node.events.publish(
            PeerRefused(identity.npub, name, transport_id, address, refusal.context, reason, left_out)
        )

    def _name_resolved(self, identity: PeerIdentity) -> None:
        self.node.register(identity)
        self.node.chronicle.name_resolved(identity, self.node.world.clock.seconds())

    def _degrade(self, reason: str, part: str = "another part") -> None:
        self._lacking.add(part)
        self.node.degraded = True
        self.log("warn", reason)

    def _mended(self, part: str) -> None:
        """Nothing is lacking any more of a part that can be mended while the node runs."""
        self._lacking.discard(part)
        if self.node.degraded and not self._lacking:
            self.node.mended()

    def _fallback_mtu(self) -> int:
        return next((section.mtu for section in self.config.transports.udp.values()), 1280)

    def _mesh_interface(self) -> MeshInterface:
        tun, section = self.config.tun, self.config.meshnode.firewall
        firewall = None
        if section.enabled:
            run = command_runner(self._reactor)
            firewall = Firewall(tun.name, section.allow_tcp, section.allow_udp, section.rules_dir, run)
        return MeshInterface(self._reactor, tun.name, self.identity.ipv6, tun.mtu, self, firewall=firewall)

    def _configured_peers(self, config: Config) -> list[PeerConfig]:
        self._passed_over = passed_over(config, self.identity.peer)
        return configured_peers(config, self.identity.peer, lambda text: self.log("warn", text))


async def _maybe(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
