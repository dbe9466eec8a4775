"""Tables for people: every recorded answer of a live daemon can be shown, and fits a terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from meshnode.cli.tables import cell, duration, milliseconds, pairs, percent, size, table
from meshnode.cli.views import VIEWS
from tests.unit.vectors import load

NOW = 1_795_243_400.0
CASES = [
    pytest.param(view, case["answer"]["data"], id=f"{view}-{case['daemon']}-{case['case']}")
    for view in VIEWS
    for case in load(f"control/show_{view.replace('-', '_')}")["cases"]
]


@pytest.mark.parametrize(("view", "data"), CASES)
def test_every_recorded_answer_can_be_shown_in_80_columns(view: str, data: Any) -> None:
    """Only the address at the end of a line may be longer than what is left of the terminal."""
    lines = VIEWS[view](data, NOW)
    assert lines
    assert all(len(line.rpartition(" ethernet ")[0] or line) <= 80 for line in lines), max(lines, key=len)
    assert all(line == line.rstrip() and "\n" not in line and "None" not in line for line in lines)


def shown(view: str, case: str) -> str:
    cases = load(f"control/show_{view}")["cases"]
    return "\n".join(VIEWS[view](next(c for c in cases if c["case"].startswith(case))["answer"]["data"], NOW))


def test_an_onion_service_shows_its_name_its_streams_and_how_tor_is() -> None:
    onion = "c" * 56 + ".onion"
    row = {
        "transport_id": 1,
        "type": "tor",
        "state": "up",
        "mtu": 1400,
        "onion_address": onion,
        "tor_monitoring": {
            "bootstrap": 100,
            "circuit_established": True,
            "traffic_read": 1,
            "traffic_written": 2,
            "network_liveness": "up",
            "version": "0.4.9.11",
            "dormant": False,
        },
        "stats": {"bytes_sent": 5, "bytes_recv": 6, "send_errors": 0, "recv_errors": 1}
        | {"pool_inbound": 2, "pool_outbound": 1},
    }
    _heading, line, name, tor = VIEWS["transports"]({"transports": [row]}, NOW)
    assert " 2/1 " in f"{line} "
    assert name == f"onion service: {onion}"
    assert tor == "Tor 0.4.9.11: started to 100 %, circuits, network up"


def test_a_peer_is_one_line_with_its_place_in_the_tree() -> None:
    assert re.search(r"^bee +child +23\.4 ms +0\.0% .* udp 10\.72\.1\.2:2121$", shown("peers", "busy root"), re.M)


def test_a_peer_that_is_not_relied_on_says_so() -> None:
    rows = next(c for c in load("control/show_peers")["cases"] if c["answer"]["data"]["peers"])["answer"]["data"]
    silent = {"peers": [{**rows["peers"][0], "trust": "distrusted"}]}
    assert VIEWS["peers"](silent, NOW)[1].endswith(" (distrusted)")


def test_the_status_names_the_root_or_this_node() -> None:
    assert "root this node" in shown("status", "busy root")
    assert "root 691d5300900c4adb07eaae24ab41898e" in shown("status", "busy transit")


def test_nothing_is_said_in_words() -> None:
    assert shown("peers", "empty node") == "no peers"
    assert shown("connections", "empty node") == "no handshakes under way"
    assert shown("metrics", "empty node") == "every counter is zero"


def test_columns_are_aligned_and_quantities_stand_to_the_right() -> None:
    assert table(("NAME", "SIZE"), [("a", "1.5 kB"), ("long name", "12 B"), ("x", None)], "none") == [
        "NAME         SIZE",
        "a          1.5 kB",
        "long name    12 B",
        "x               -",
    ]
    assert table(("NAME",), [], "none") == ["none"]
    assert table(("NAME",), []) == []


def test_what_a_terminal_would_act_on_is_not_printed() -> None:
    assert cell("a\x1b[31mb\n") == "a?[31mb?"
    assert pairs([("a", "x\ry")]) == ["a  x?y"]


def test_addresses_are_no_quantities() -> None:
    assert table(("AT",), [("10.72.1.2:2121",), ("x",)]) == ["AT", "10.72.1.2:2121", "x"]


def test_long_cells_are_cut() -> None:
    assert len(cell("x" * 100)) == 48


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (15_594_830, "15.6 MB"), (None, None)],
)
def test_sizes(nbytes: int | None, text: str | None) -> None:
    assert size(nbytes) == text


def test_the_largest_sizes_keep_their_unit() -> None:
    assert size(10**19) == "10000 PB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59.9, "59s"), (61, "1m01s"), (7380, "2h03m"), (90_000, "1d01h"), (None, None)],
)
def test_durations(seconds: float | None, text: str | None) -> None:
    assert duration(seconds) == text


def test_shares_and_delays() -> None:
    assert (percent(0.123), percent(None)) == ("12.3%", None)
    assert (milliseconds(1.26), milliseconds(None)) == ("1.3 ms", None)
