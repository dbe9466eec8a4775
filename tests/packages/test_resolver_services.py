"""The resolvers of a machine that has booted learn of `.fips` when the node starts, and forget it when it ends."""

from __future__ import annotations

import pytest

from tests.rigs.labs import Lab
from tests.rigs.waiting import wait_until

from .booted import PACKAGES, Booted
from .conftest import Artefact
from .machines import debian
from .test_deb import RELEASES

pytestmark = pytest.mark.net

RELEASE = "bookworm"
RESOLVERS = {
    "systemd-resolved": ("global-drop-in", "/etc/systemd/resolved.conf.d/fips.conf"),
    "dnsmasq": ("dnsmasq", "/etc/dnsmasq.d/fips.conf"),
}


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_the_system_s_resolver_is_told_and_set_back(lab: Lab, artefact: Artefact, resolver: str) -> None:
    below = debian(RELEASE, [*PACKAGES, *RESOLVERS, *RELEASES[RELEASE]["depends"]])
    machine = Booted(lab.host("machine"), below)
    backend, file = RESOLVERS[resolver]
    try:
        (other,) = RESOLVERS.keys() - {resolver}
        machine(f"systemctl disable --now {other}; systemctl restart {resolver}")
        machine("rm -f /etc/resolv.conf; echo nameserver 127.0.0.53 > /etc/resolv.conf")
        if resolver == "dnsmasq":
            machine("echo nameserver 127.0.0.1 > /etc/resolv.conf")
        machine.put(artefact("deb", "--release", RELEASE), "/root/meshnode_0.deb")
        machine("apt-get install --yes ./meshnode_0.deb")
        wait_until(lambda: f"({backend})" in machine("journalctl --unit meshnode"), 30, "the resolver is told")
        ask = "getent ahostsv6 $(cat /etc/meshnode/fips.pub).fips"
        address = machine("ip -6 addr show dev fips0 scope global | sed -n 's/.*inet6 \\([^/]*\\).*/\\1/p'").strip()
        wait_until(lambda: address in machine.run(ask).stdout, 20, "programs find our own name")

        # What was killed comes back, and finds its own file; what stops takes it along.
        machine("kill -KILL $(systemctl show --property MainPID --value meshnode)")
        wait_until(lambda: machine("journalctl --unit meshnode").count(f"({backend})") == 2, 40, "it is told again")
        wait_until(lambda: address in machine.run(ask).stdout, 20, "programs find it again")
        machine(f"grep -q 5354 {file}")
        machine("systemctl stop meshnode")
        machine(f"test ! -e {file}")
        assert machine.run(ask).returncode != 0
        assert machine(f"systemctl is-active {resolver}") == "active\n"
    finally:
        machine.close()
