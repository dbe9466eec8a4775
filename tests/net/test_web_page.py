"""The page of a running node in a real browser: it fills, draws the mesh, and comes over the mesh to its friends."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.rigs import browser, traffic
from tests.rigs.labs import Lab, chain
from tests.rigs.nodes import Node
from tests.rigs.waiting import wait_until

pytestmark = pytest.mark.net

_PORT = 9718
_WEB = {"meshnode": {"web": {"enabled": True, "listen": f"127.0.0.1:{_PORT}", "token_file": "web.token"}}}


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    with Lab() as lab:
        row = chain(lab, "abc", _WEB)
        c = row[2]
        c.settings["meshnode"] = {"web": {"enabled": True, "listen": f"mesh:{_PORT}", "allow": [row[0].npub]}}
        for node in row:
            node.start()
        for node in row:
            node.wait_ready(60)
        row[1].wait_connected(row[0], row[2], deadline=30)
        yield row


@pytest.mark.program("chromium")
def test_the_page_fills_and_draws_the_mesh(nodes: list[Node]) -> None:
    b = nodes[1]
    with b.host.inside():
        page = browser.document(b.directory, f"http://127.0.0.1:{_PORT}/")
    assert 'data-ready="yes"' in page
    assert b.npub in page
    tree = page[page.index('<svg id="tree"') : page.index('class="legend"')]
    assert tree.count("<circle") == 3
    assert len(re.findall(r'class="link (good|fair|poor|unknown)"', tree)) == 2
    assert page[: page.index('id="peer-charts"')].count('class="chart"') == 4
    events = page[page.index('<ol id="log"') :]
    assert events.count("<b>peer_up</b>") == 2
    assert "connected at" in events


@pytest.mark.program("chromium")
def test_every_peer_has_its_throughput_round_trip_and_loss_drawn(nodes: list[Node]) -> None:
    a, b, _c = nodes

    def drawn() -> str:
        with b.host.inside():
            page = browser.document(b.directory, f"http://127.0.0.1:{_PORT}/")
        charts = page[page.index('id="peer-graphs"') : page.index('<section id="events"')]
        return charts if charts.count("<polyline") == 8 else ""  # two lines of throughput, one of each of the others

    charts = wait_until(drawn, 20, "every chart of both peers has its line", interval=0.5)
    names = re.findall(r"<h3>([^<]+)</h3>", charts)
    assert len(names) == 2
    assert a.npub[:9] in " ".join(names)
    assert len(re.findall(r"<span>round trip</span><span>\d+\.\d ms</span>", charts)) == 2


def test_over_the_mesh_it_comes_to_those_who_are_listed(nodes: list[Node]) -> None:
    a, b, c = nodes
    url = f"http://[{c.address}]:{_PORT}/"
    wait_until(lambda: f"Web page at {url}" in c.log(), 10, "the page is there")
    assert "<title>meshnode</title>" in traffic.fetch(a.host, f"http://{c.npub}.fips:{_PORT}/").stdout
    refused = b.host.run(["curl", "--silent", "--globoff", url])
    assert "does not show its page to you" in refused.stdout


def test_it_is_off_unless_asked_for(lab: Lab) -> None:
    node = lab.node("plain", lab.host("plain"), None, {"tun": {"enabled": False}})
    node.start()
    node.wait_ready(60)
    assert "Web page" not in node.log()
    assert node.host.run(["curl", "--silent", f"http://127.0.0.1:{_PORT}/"]).returncode != 0
