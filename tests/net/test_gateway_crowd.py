"""A host of the local network that asks a gateway for more names than anybody needs (threat model)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from random import Random

import pytest

from meshnode.gateway.gateway import NEW_NAMES_AT_ONCE, NEW_NAMES_PER_SECOND
from meshnode.identity import Identity
from tests.rigs.gateways import LAN, NAMES_PORT, GatewayRig
from tests.rigs.labs import Lab
from tests.rigs.waiting import pause

pytestmark = pytest.mark.net

_RATE = 1000
_SECONDS = 8
_ANSWERED_WITHIN = 3.0
_GREEDY = """
import json, socket, struct, sys, time
names, host, port, rate = json.load(open(sys.argv[1])), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
asking.connect((host, port))
asking.setblocking(False)
begin = time.monotonic()
for number, name in enumerate(names):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    head = struct.pack(">HHHHHH", number & 0xFFFF, 0x100, 1, 0, 0, 0)
    try:
        asking.send(head + labels + struct.pack(">BHH", 0, 28, 1))
        while True:
            asking.recv(2048)
    except OSError:
        pass
    time.sleep(max(0.0, begin + number / rate - time.monotonic()))
"""


def test_a_host_that_asks_for_every_name_keeps_nobody_waiting(lab: Lab, measured: Callable[[str], None]) -> None:
    """Each name it gets is rules for the kernel and an address of the pool, which all hosts share."""
    rig = GatewayRig(lab, {"pool_grace_period": 60}, clients=2)
    rig.near.settings["gateway"]["dns"]["ttl"] = 60
    rig.start()
    random = Random(9)
    names = [f"{Identity(random.randbytes(32)).npub}.fips" for _ in range(_RATE * _SECONDS + 100)]
    wanted = rig.clients[0].directory / "names.json"
    wanted.write_text(json.dumps(names[100:]))
    command = [sys.executable, "-c", _GREEDY, str(wanted), f"{LAN}1", str(NAMES_PORT), str(_RATE)]
    greedy = rig.clients[0].start(command)
    begin = time.monotonic()
    waits = []
    for name in names[:100]:
        asked = time.monotonic()
        (_address,) = rig.resolve(name, client=1)
        waits.append(time.monotonic() - asked)
        if greedy.poll() is not None:
            break
        pause(0.25)
    lent = rig.ask("show_gateway")["pool_allocated"]
    lasted = time.monotonic() - begin
    measured(f"{_RATE} new names/s for {lasted:.1f} s: another host waits {max(waits):.2f} s at most; {lent} are lent")
    assert greedy.poll() == 0
    assert max(waits) < _ANSWERED_WITHIN
    assert lent <= NEW_NAMES_AT_ONCE + NEW_NAMES_PER_SECOND * (lasted + 1) + len(waits)
    assert rig.log().count("new names a second, and must wait") in (1, 2)
    assert "Traceback" not in rig.log()
    stopping = time.monotonic()
    assert rig.stop_gateway() == 0
    assert time.monotonic() - stopping < 5
    assert rig.near.host.ip("-6 neigh show proxy") == ""
