"""A real Prometheus scrapes a node, and the shipped alert fires when a configured peer is not there, and ends again."""

from __future__ import annotations

import pytest

from tests.rigs.labs import Lab, Pair
from tests.rigs.prometheus import Prometheus
from tests.rigs.waiting import wait_until

pytestmark = [pytest.mark.net, pytest.mark.program("prometheus")]

_METRICS, _PROMETHEUS = 9717, 9790


def test_a_lost_peer_sets_off_the_alert_until_it_is_back(lab: Lab) -> None:
    settings = {"meshnode": {"metrics": {"enabled": True, "listen": f"127.0.0.1:{_METRICS}"}}}
    pair = Pair(lab, settings=settings).left_dials().start()
    left, right = pair.left, pair.right
    with Prometheus(left.host, left.directory, f"127.0.0.1:{_METRICS}", _PROMETHEUS) as prometheus:
        wait_until(lambda: prometheus.query("meshnode_peers == 1"), 15, "the peer is counted", interval=0.1)
        (info,) = prometheus.query("meshnode_info")
        assert info["metric"]["npub"] == left.npub
        assert "MeshnodePeerDown" not in prometheus.firing()
        right.stop()
        wait_until(lambda: "MeshnodePeerDown" in prometheus.firing(), 15, "the alert fires", interval=0.1)
        alert = prometheus.firing()["MeshnodePeerDown"]
        assert alert["peer"] == "right"
        assert right.npub in alert["description"]
        assert "MeshnodeAlone" in prometheus.firing()
        right.start()
        wait_until(lambda: "MeshnodePeerDown" not in prometheus.firing(), 25, "the alert ends", interval=0.1)
