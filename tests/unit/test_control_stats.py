"""The stats commands answer like the recorded daemons: same texts for the same mistakes, same lists for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.control.commands import CommandError
from meshnode.control.stats import seconds
from tests.unit.test_control_state import Chain, Operator
from tests.unit.vectors import load

COMMANDS = ("show_stats_list", "show_stats_history", "show_stats_all_history", "show_stats_history_all_peers")
AWAY = "npub1drn0j38xv59dxer39fcsjj7vv78mzlv3w4x8kzzqftxeunz3txps77jy0f"
BEE = "npub1yutuesdf95tgktcm7zrrgxmc030fw5af6usegterjv6wa9zgpjus7fad5d"
GHOST = "npub14uyx9duys7yt26xhrqf5havxwwe7r7u245vea5xk385qux376mysn6x8c8"
CASES = [(command, case) for command in COMMANDS for case in load(f"control/{command}")["cases"] if "answer" in case]


@pytest.fixture(scope="module")
def operator() -> Operator:
    chain = Chain()
    for _ in range(70):
        chain.talk(1)
        chain.operators[0].state.every_second()
    return chain.operators[0]


def translated(params: Any, operator: Operator) -> Any:
    """The recorded parameters, with our peer in the place of theirs."""
    if isinstance(params, dict) and params.get("peer") in (BEE, AWAY):
        return {**params, "peer": operator.ask("show_peers")["peers"][0]["npub"]}
    return params


def normal(message: str) -> str:
    """Reasons of the decoder for a key that is none are in the library's words."""
    return message.partition("npub: ")[0] + "npub" if "invalid peer npub" in message else message.replace("absent", "")


@pytest.mark.parametrize(("command", "case"), CASES, ids=[f"{command}: {case['case']}" for command, case in CASES])
def test_the_answer_is_the_recorded_one_but_for_values(operator: Operator, command: str, case: Any) -> None:
    params = translated(case["request"].get("params"), operator)
    if case["answer"]["status"] == "error":
        with pytest.raises(CommandError) as refusal:
            operator.ask(command, params)
        assert normal(str(refusal.value)).replace("ghost", "") == normal(case["answer"]["message"])
        return
    ours, theirs = operator.ask(command, params), case["answer"]["data"]
    assert without_values(ours) == without_values(theirs)


def without_values(data: Any) -> Any:
    """Lists of samples become their length; names and addresses of peers go."""
    if isinstance(data, list):
        return [without_values(item) for item in data]
    if not isinstance(data, dict):
        return data
    passed_over = {"values_length", "values_shortened", "display_name", "node_addr", "peer"}
    plain = {key: without_values(value) for key, value in data.items() if key not in passed_over | {"values"}}
    if "values" in data:
        plain["samples"] = data.get("values_length", len(data["values"]))
    return plain


def test_the_window_decides_how_many_values_there_are(operator: Operator) -> None:
    def count(**params: Any) -> int:
        return len(operator.ask("show_stats_history", {"metric": "bytes_in", **params})["values"])

    assert count(window="90m") == 3600
    assert count(window="90m", granularity="1m") == 90
    assert count() == 600
    assert count(window="59s", granularity="1m") == 0


def test_a_minute_has_become_a_slow_sample(operator: Operator) -> None:
    answer = operator.ask("show_stats_history", {"metric": "peer_count", "window": "2m", "granularity": "1m"})
    assert answer["values"] == [None, 1.0]


def test_peers_are_listed_with_the_present_ones_first(operator: Operator) -> None:
    answer = operator.ask("show_stats_peers")
    assert answer["count"] == 1
    (row,) = answer["peers"]
    assert (row["display_name"], row["is_active"], row["last_contact_secs_ago"]) == ("bee", True, 0)
    assert row["npub"] == operator.ask("show_peers")["peers"][0]["npub"]


def test_an_absent_peer_is_known_by_its_address() -> None:
    chain = Chain()
    operator = chain.operators[1]
    operator.state.every_second()
    gone = chain.hosts[2]
    gone.node.stop()
    gone.transport.stop()
    chain.net.run(1)
    operator.state.every_second()
    present, absent = operator.ask("show_stats_peers")["peers"]
    assert present["is_active"]
    assert not absent["is_active"]
    assert absent["npub"] == absent["node_addr"] == gone.identity.node_addr.hex()


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("2h", 7200), ("+5m", 300), (f"{2**64 - 1}h", 2**64 - 1)])
def test_durations_are_read(text: str, expected: int) -> None:
    assert seconds(text) == expected


def test_a_unit_of_more_than_one_byte_is_named() -> None:
    with pytest.raises(CommandError, match=r"^unknown duration unit: µ"):
        seconds("5µ")
