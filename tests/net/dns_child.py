"""What runs inside the namespace of test_dns_socket: a responder on a real reactor, asked from outside that reactor."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from meshnode.identity import PeerIdentity
from meshnode.ipv6.commands import command_runner
from meshnode.ipv6.dns import DnsResponder, FipsZone, interface_index
from meshnode.ipv6.hosts import HostMap

reactor: Any = _reactor
QUERY = bytes.fromhex("12340100000100000000000004706565720466697073 00001c0001")


def getent(name: str) -> str | None:
    """Ask the C library for the IPv6 address of `name`."""
    found = subprocess.run(["getent", "ahostsv6", name], capture_output=True, text=True, check=False)
    return found.stdout.split()[0] if found.stdout else None


def ask(address: str) -> bool:
    """Tell whether the responder answers a query sent to `address`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.sendto(QUERY, (address, 5355))
        try:
            return sock.recvfrom(4096)[1][0] == address
        except TimeoutError:
            return False


async def commands() -> list[tuple[int, str]]:
    """Run a command that works, one that fails and one that hangs."""
    run = command_runner(reactor, timeout=0.3)
    lines = ["echo hello", "exit 3", "exec sleep 20"]
    ended = [await run(["/bin/sh", "-c", line]) for line in lines]
    return [(result.status, result.output.decode()) for result in ended]


async def main(npub: str, scenario: str, address: str, port: str, *arguments: str) -> None:
    """Run one scenario and print what came of it."""
    announced: list[PeerIdentity] = []
    zone = FipsZone(HostMap(None, [("peer", PeerIdentity.from_npub(npub))]), 300, announced.append)
    responder = DnsResponder(zone, [(address, int(port))], reactor, interface_index("fips0"))
    problems = responder.start()
    if scenario == "commands":
        results: list[Any] = list(await commands())
    else:
        function = {"getent": getent, "ask": ask}[scenario]
        results = [await deferToThread(function, argument) for argument in arguments]
    responder.stop()
    counters = zone.counters
    print(
        json.dumps(
            {"problems": problems, "results": results, "announced": len(announced), "from_mesh": counters.from_mesh}
        )
    )


if __name__ == "__main__":
    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(main(*sys.argv[1:])).addErrback(print).addBoth(lambda _: reactor.stop())
    )
    reactor.run()
