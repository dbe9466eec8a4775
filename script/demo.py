"""Three real nodes on this machine, chained a - b - c, show what a mesh does. Run by `script/run demo`.

Needs root or a user namespace that maps to root, iproute2, ping and curl. Everything it makes is gone at its end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.rigs import traffic
from tests.rigs.hosts import RigError
from tests.rigs.labs import Lab, chain, tidy_up_on_signals
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

_LONGEST = 29
_PAGE = "Hello from c. You came through b, who could read none of this.\n"


class StepFailed(RuntimeError):
    """A step of the demonstration did not do what it should; the text says what happened instead."""


def _step(title: str, action: Callable[[], str]) -> None:
    begin = time.monotonic()
    try:
        result = action()
    except (AssertionError, StepFailed, RigError, OSError) as error:
        print(f"  {title:<38} FAILED    {str(error).splitlines()[0]}")
        raise StepFailed(str(error)) from error
    print(f"  {title:<38} {time.monotonic() - begin:6.2f} s  {result}", flush=True)


def _start(nodes: list[Node]) -> str:
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
    return ", ".join(f"{node.name} is pid {node.pid}" for node in nodes)


def _links(a: Node, b: Node, c: Node) -> str:
    b.wait_connected(a, c)
    return "a and c dialled b over UDP"


def _settled(nodes: list[Node]) -> str:
    """Wait until the outer nodes have heard, through the middle one, that there are three."""
    for node in (nodes[0], nodes[-1]):
        wait_until(lambda node=node: node.status()["estimated_mesh_size"] == len(nodes), 8, "three nodes are counted")
    return "a and c have heard of each other through b"


def _lookup(a: Node, c: Node) -> str:
    done = a.host.run(["getent", "ahostsv6", f"{c.npub}.fips"], timeout=10)
    if c.address not in done.stdout:
        raise StepFailed(f"a cannot resolve the name of c: {done.stdout or done.stderr or 'no answer'}")
    return f"{c.npub[:12]}...fips is {c.address}"


def _first_echo(a: Node, c: Node) -> str:
    traffic.first_echo(a.host, c.address, deadline=12)
    return "a found c in the mesh, keys agreed end to end"


def _echoes(a: Node, c: Node) -> str:
    replies = traffic.ping(a.host, c.address, count=20, interval=0.05)
    if len(replies) < 20:
        raise StepFailed(f"{20 - len(replies)} of 20 echoes were lost")
    return f"median round trip {median(reply.milliseconds for reply in replies):.2f} ms"


def _page(a: Node, c: Node) -> str:
    with traffic.web_page(c.host, _PAGE):
        done = traffic.fetch(a.host, f"http://{c.npub}.fips/")
    if done.stdout != _PAGE:
        raise StepFailed(f"no page: {done.stderr or done.stdout}")
    return _PAGE.strip()


def _forwarded(b: Node) -> str:
    forwarding = b.status()["forwarding"]
    if not forwarding["forwarded_packets"]:
        raise StepFailed("b forwarded nothing")
    return f"{forwarding['forwarded_packets']} packets, {forwarding['forwarded_bytes']} bytes"


def _stop(nodes: list[Node]) -> str:
    statuses = [node.stop() for node in nodes]
    if any(statuses):
        raise StepFailed(f"exit statuses {statuses}")
    return "every node said goodbye"


def demonstrate(lab: Lab) -> None:
    """Run all steps, printing one line each; raises `StepFailed` at the first that fails."""
    nodes: list[Node] = []
    _step("three hosts and two cables", lambda: nodes.extend(chain(lab, "abc")) or "a - b - c")
    a, b, c = nodes
    _step("three nodes started", lambda: _start(nodes))
    _step("links up", lambda: _links(a, b, c))
    _step("mesh settled", lambda: _settled(nodes))
    _step("the name of c resolved on a", lambda: _lookup(a, c))
    _step("first echo from a to c", lambda: _first_echo(a, c))
    _step("twenty echoes from a to c", lambda: _echoes(a, c))
    _step("web page fetched by a from c, by name", lambda: _page(a, c))
    _step("forwarded by b", lambda: _forwarded(b))
    _step("all stopped", lambda: _stop(nodes))


def _too_long(number: int, frame: FrameType | None) -> None:
    raise StepFailed(f"not finished after {_LONGEST} s")


def main() -> int:
    """Return the exit status: 0 when every step worked, 1 otherwise, 130 after Ctrl-C."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        print("!!! /dev/net/tun cannot be opened here; type: sudo script/run demo", file=sys.stderr)
        return 1
    tidy_up_on_signals()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(_LONGEST)
    print("Three nodes on this machine, each in a network namespace of its own: a - b - c\n")
    begin = time.monotonic()
    with Lab() as lab:
        try:
            demonstrate(lab)
        except StepFailed as failure:
            print(f"\n{failure}\n{lab.log_tails(12)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted; everything is taken down", file=sys.stderr)
            return 130
    print(f"\nDone in {time.monotonic() - begin:.1f} s; nothing is left behind. A node of your own: script/run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
