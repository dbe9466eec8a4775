"""Two nodes' worth of TUN and IPv6 adapter in one process, each in its network namespace, joined in memory.

Run as a program, as root; both print JSON:

- `python -m tests.net.tun_rig pair REACTOR COMMAND...` brings both up, runs COMMAND, in which `{a}` and `{b}` are the
  names of the namespaces, and tells what it wrote and everything counted.
- `python -m tests.net.tun_rig setup NAME MTU` configures one TUN with `NetworkSetup` in the present namespace, removes
  it again, and tells addresses, routes and rules of before, between and after, or the error.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import log

from meshnode.ipv6.adapter import Ipv6Adapter, shim_payloads
from meshnode.ipv6.netsetup import NetworkSetup, NetworkSetupError
from meshnode.ipv6.tun import TunDevice, TunError

ADDRESSES = {"a": IPv6Address("fd00::a").packed, "b": IPv6Address("fd00::b").packed}
TRANSPORT_MTU = 1472
MTU = 1280
_CLONE_NEWNET = 0x40000000


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def namespaces() -> Iterator[dict[str, str]]:
    """Two fresh network namespaces."""
    names = {side: f"meshnode-{os.getpid()}-{side}" for side in ADDRESSES}
    for name in names.values():
        ip("netns", "add", name)
    try:
        yield names
    finally:
        for name in names.values():
            ip("netns", "delete", name)


def within(namespace: str, action: Callable[[], None]) -> None:
    """Run `action` in a network namespace, on a thread of its own, since a namespace belongs to a thread."""

    def run() -> None:
        with open(f"/run/netns/{namespace}") as handle:
            if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        action()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(run).result()


class Side:
    """One node: it has no mesh but hands packets straight to the other side."""

    def __init__(self, reactor: Any, name: str, namespace: str) -> None:
        self.lost: list[str] = []
        self.other: Side | None = None
        self.device = TunDevice(reactor, "fips0", MTU, self)
        within(namespace, self.device.open)
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", namespace, "link", "set", "fips0", "up", "mtu", str(MTU))
        ip("-n", namespace, "addr", "add", f"{IPv6Address(ADDRESSES[name])}/128", "dev", "fips0")
        ip("-n", namespace, "route", "add", "fd00::/8", "dev", "fips0")
        self.adapter = Ipv6Adapter(ADDRESSES[name], self, self.device, TRANSPORT_MTU, reactor.seconds)
        self.packets_read = self.adapter.packets_read

    def send_ipv6(self, destination: bytes, packets: list[bytes]) -> None:
        assert self.other is not None
        if destination == self.other.adapter.address:
            self.other.adapter.receive(self.adapter.address, shim_payloads(packets), 0, False)
        else:
            for packet in packets:
                self.adapter.unreachable(packet)

    def burst_ended(self) -> None:
        assert self.other is not None
        self.adapter.flush()
        self.other.adapter.flush()

    def tun_lost(self, reason: str) -> None:
        self.lost.append(reason)

    def report(self) -> dict[str, Any]:
        """Everything counted here."""
        objects = (self.device.counters, self.adapter.counters)
        counters = [{key: getattr(thing, key) for key in thing.__slots__} for thing in objects]
        return {"tun": counters[0], "adapter": counters[1], "lost": self.lost, "takes_frames": self.device.takes_frames}


def install_reactor(name: str) -> Any:
    if name == "asyncio":
        from twisted.internet import asyncioreactor

        asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    return reactor


def join_pair(reactor: Any, command: list[str]) -> dict[str, Any]:
    """Run `command` while two sides are joined; its output, status and what both sides counted."""
    with namespaces() as names:
        sides = {side: Side(reactor, side, name) for side, name in names.items()}
        sides["a"].other, sides["b"].other = sides["b"], sides["a"]
        result: dict[str, Any] = {"status": None}

        def run_command() -> None:
            arguments = [part.format(**names) for part in command]
            ended = subprocess.run(arguments, check=False, capture_output=True, text=True)
            result.update(status=ended.returncode, output=ended.stdout + ended.stderr)
            reactor.callFromThread(reactor.stop)

        for side in sides.values():
            side.device.start()
            reactor.addSystemEventTrigger("before", "shutdown", side.device.close)
        reactor.callInThread(run_command)
        reactor.callLater(60, reactor.stop)
        reactor.run()
        return {**result, **{side: it.report() for side, it in sides.items()}}


def set_up_and_remove(reactor: Any, name: str, mtu: int) -> dict[str, Any]:
    """Configure one TUN and remove it."""
    states: list[str] = []
    result: dict[str, Any] = {"states": states, "error": None}

    async def sequence() -> None:
        device = TunDevice(reactor, name, mtu, Silence())
        setup = NetworkSetup(reactor)
        states.append(network_state())
        try:
            setup.prepare()
            device.open()
            await setup.configure(name, ADDRESSES["a"], mtu)
            states.append(network_state())
        except (TunError, NetworkSetupError) as error:
            result["error"] = str(error)
        finally:
            device.close()
            await setup.remove()
            states.append(network_state())

    def start() -> None:
        Deferred.fromCoroutine(sequence()).addErrback(log.err).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    return result


def network_state() -> str:
    """Addresses, routes and rules of the present namespace."""
    return ip("-6", "addr", "show", "scope", "global") + ip("-6", "route") + ip("-6", "rule")


class Silence:
    """A TUN host that expects nothing."""

    def packets_read(self, packets: list[bytes]) -> None:
        """Nobody reads."""

    def burst_ended(self) -> None:
        """Nobody reads."""

    def tun_lost(self, reason: str) -> None:
        raise AssertionError(reason)


def main(arguments: list[str]) -> None:
    if arguments[0] == "pair":
        result = join_pair(install_reactor(arguments[1]), arguments[2:])
    else:
        result = set_up_and_remove(install_reactor("default"), arguments[1], int(arguments[2]))
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
