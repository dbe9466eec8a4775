# ruff: noqa: F811  (fixtures come from a neighbour)
"""The newer commands of meshctl, against a node that answers from a table: what is printed, asked, and returned."""

from __future__ import annotations

import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli import probing, speed
from meshnode.cli.commands import bench, reach, report
from meshnode.cli.commands.history import plot
from tests.unit.test_cli_main import BEE, DELTA, Daemon, daemon, run  # noqa: F401
from tests.unit.vectors import load

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "POLL_SECS", 0.0)


def ok(data: Any) -> dict[str, Any]:
    return {"status": "ok", "data": data}


def probe_reports() -> dict[str, Any]:
    cases = load("control/probe_poll")["cases"]
    done = [case for case in cases if case["answer"].get("data", {}).get("state") == "done"]
    return {case["case"]: case["answer"] for case in done}


def probing_node(daemon: Daemon, case: str) -> Any:
    answer = next(answer for name, answer in probe_reports().items() if name.startswith(case))
    daemon.answers["probe_start"] = ok({"probe_id": 7, "budget_ms": 28000})
    daemon.answers["probe_poll"] = answer
    return answer["data"]["report"]


# -- status and peers


def test_a_well_node_says_so_and_who_it_is(run: Run) -> None:
    status, out, _ = run("status")
    assert out.startswith(("This node is well", "1 thing wrong"))
    assert "npub       npub102c0362v7mte5cr7fjz5sy8lkyq7r9mc9j9qqj9r9w07cfagkvrq697ygj" in out
    assert status in (0, 1)


def test_the_status_names_the_library_that_encrypts(run: Run, daemon: Daemon) -> None:
    daemon.answers["show_config"] = ok({"settings": {}, "aead_library": "PyNaCl"})
    assert "cipher     ChaCha20-Poly1305 by PyNaCl" in run("status")[1]


def test_trouble_comes_first_and_makes_the_status_one(run: Run, daemon: Daemon) -> None:
    daemon.answers["show_status"]["data"]["state"] = "degraded"
    status, out, _ = run("status")
    assert status == 1
    assert "! the node runs without a part of it" in out
    status, out, _ = run("status", "--json")
    assert (status, json.loads(out)["well"]) == (1, False)


def test_peers_that_are_missing_are_listed_below_those_that_are_there(run: Run, daemon: Daemon) -> None:
    row = {
        "npub": DELTA, "display_name": "delta", "is_configured": True, "is_connected": False, "is_dialling": False,
        "is_dismissed": False, "vain_attempts": 4, "next_attempt_ms": None, "wish": "keep",
        "addresses": [{"transport": "udp", "address": "192.0.2.1:2121"}],
    }  # fmt: skip
    daemon.answers["show_known_peers"] = ok({"peers": [row]})
    _, out, _ = run("peers")
    assert "bee" in out
    assert out.splitlines()[-1].split() == ["delta", "configured", "4", "never", "udp", "192.0.2.1:2121"]


# -- ping, trace, why


def test_a_trace_names_every_stage_and_the_round_trip(run: Run, daemon: Daemon) -> None:
    probing_node(daemon, "two hops")
    status, out, _ = run("trace", "delta", "--no-hops")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:9]] == list(probing.STAGES)
    assert out.splitlines()[-1] == "reached, 2 ms"


def test_the_failing_stage_is_the_answer(run: Run, daemon: Daemon) -> None:
    probing_node(daemon, "node in no filter")
    status, out, _ = run("trace", "delta")
    assert status == 1
    assert out.splitlines()[-1] == "fails at filter"
    assert "no peer claims to reach it" in out
    status, out, _ = run("trace", "delta", "--json")
    assert (status, json.loads(out)["failing_stage"]) == (1, "filter")


@pytest.mark.parametrize(("target", "stage"), [("nobody", "name"), ("npub1xyz", "key")])
def test_a_wrong_target_fails_before_anything_is_asked_of_the_mesh(
    run: Run, daemon: Daemon, target: str, stage: str
) -> None:  # fmt: skip
    status, out, _ = run("trace", target)
    assert (status, out.splitlines()[-1]) == (1, f"fails at {stage}")
    assert "probe_start" not in [request["command"] for request in daemon.requests]


def test_every_failure_a_node_can_tell_has_a_meaning() -> None:
    for stage, reasons in {
        "filter": ("bloom_miss", "no_tree_peers"),
        "lookup": ("bloom_unconfirmed", "already_pending"),
        "path": ("disjoint_trees", "no_next_hop"),
        "session": ("handshake_timeout",),
        "echo": ("no_report", "no_echo", "bad_timestamp_echo"),
    }.items():
        for reason in reasons:
            assert (stage, reason) in probing.MEANING


def test_a_ping_counts_what_came_back(run: Run, daemon: Daemon) -> None:
    probing_node(daemon, "target with a session")
    status, out, _ = run("ping", "delta", "-c", "2")
    assert (status, out.splitlines()[-1]) == (0, "2 of 2 came back, 1/1.0/1 ms least/mean/most")
    probing_node(daemon, "peer that does not exist")
    status, out, _ = run("ping", "delta", "-c", "1")
    assert (status, out.splitlines()[1].startswith("1: fails at filter")) == (1, True)


@pytest.mark.parametrize("count", ["0", "-3", "many"])
@pytest.mark.parametrize("command", [("ping", "delta"), ("capture",)])
def test_a_number_of_nothing_is_wrong_usage(
    run: Run, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], count: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*command, f"--count={count}")
    assert ended.value.code == 2
    assert f"--count: {count!r} is not a whole number from 1 on" in capsys.readouterr().err


def test_a_probe_that_takes_too_long_is_cancelled(run: Run, daemon: Daemon) -> None:
    report = probing_node(daemon, "two hops")
    daemon.answers["probe_poll"] = ok({"state": "running", "report": report})
    daemon.answers["probe_cancel"] = ok({"probe_id": 7, "cancelled": True})
    status, _, err = run("trace", "delta", "--timeout", "0")
    assert (status, err.startswith("error: the probe did not end within 0 s")) == (1, True)
    assert daemon.requests[-1]["command"] == "probe_cancel"


def test_the_slow_step_is_the_one_that_stands_out() -> None:
    def hops(*times: float | None) -> list[dict[str, Any]]:
        return [{"display_name": name, "rtt_ms": rtt} for name, rtt in zip("bcde", times, strict=False)]

    assert reach.slow_step(hops(2, 4, 86, 88)) == "the slow step is c - d: 82 ms of 88 ms"
    assert reach.slow_step(hops(2, None, 86, 88)) == "the slow step is b - d: 84 ms of 88 ms"
    assert reach.slow_step(hops(2, 4, 6, 8)) is None
    assert reach.slow_step(hops(80)) is None


def test_why_shows_the_candidates(run: Run, daemon: Daemon) -> None:
    rows = [
        {"display_name": "bee", "hops_left": 1, "link_cost": 1.5, "total": 2.5, "filter_contains": True,
         "reason": "chosen"},
        {"display_name": "sea", "hops_left": None, "link_cost": None, "total": None, "filter_contains": False,
         "reason": "in another tree"},
    ]  # fmt: skip
    answer = {
        "display_name": "delta", "next_hop": {"display_name": "bee"}, "rule": "because", "our_distance": 2,
        "class": "tree_up", "candidates": rows,
    }  # fmt: skip
    daemon.answers["why"] = ok(answer)
    status, out, _ = run("why", "delta")
    assert status == 0
    assert out.splitlines()[0] == "packets for delta go to bee: because"
    assert out.splitlines()[-1].split() == ["sea", "-", "-", "-", "no", "in", "another", "tree"]
    assert daemon.requests[-1]["params"] == {"npub": DELTA}
    assert out.splitlines()[1].startswith("it is 2 hops away")
    daemon.answers["why"] = ok({**answer, "our_distance": 1})
    assert "it is 1 hop away" in run("why", "delta")[1]
    daemon.answers["why"] = ok({**answer, "next_hop": None})
    assert run("why", "delta")[0] == 1


# -- peers that stay


def test_a_peer_is_added_to_the_node_and_to_the_file(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "fips.yaml"
    file.write_text("# mine\npeers: []\n")
    daemon.answers["peer_add"] = ok({"npub": DELTA})
    daemon.answers["peer_remove"] = ok({"npub": DELTA})
    arguments = ("peer", "add", "delta", "192.0.2.7:2121", "udp", "--save", "--file", str(file))
    assert run(*arguments)[1].splitlines()[-1] == f"written into {file}"
    assert f"npub: {DELTA}" in file.read_text()
    assert run(*arguments)[1].splitlines()[-1] == f"{file} has it already"
    removed = run("peer", "remove", "delta", "--save", "--file", str(file))
    assert removed[1].splitlines()[-1] == f"taken out of {file}"
    assert file.read_text() == "# mine\npeers: []\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({}, "added delta; `meshctl peers` shows how it goes"),
        ({"changed": ["peer"]}, "added delta; `meshctl peers` shows how it goes"),
        ({"changed": ["another address", "alias"]}, "delta is a peer already; new: another address, alias"),
        ({"changed": []}, "delta is a peer at that address already; nothing changed"),
    ],
)
def test_adding_a_peer_says_whether_it_was_one(run: Run, daemon: Daemon, answer: dict[str, object], line: str) -> None:
    daemon.answers["peer_add"] = ok({"npub": DELTA, **answer})
    assert run("peer", "add", "delta", "192.0.2.7:2121", "udp", "--alias", "delta") == (0, f"{line}\n", "")


@pytest.mark.parametrize("verb", [("add", "delta", "192.0.2.7:2121", "udp"), ("remove", "delta")])
def test_where_nothing_can_be_saved_the_node_is_not_asked(
    run: Run, daemon: Daemon, verb: tuple[str, ...], tmp_path: Path
) -> None:
    missing = tmp_path / "nonex"
    status, out, err = run("peer", *verb, "--save", "--file", str(missing / "f.yaml"))
    assert (status, out) == (1, "")
    assert err == f"error: there is no directory {missing}; make it first, or name another file with --file\n"
    assert not missing.exists()
    assert run("peer", *verb, "--file", str(tmp_path / "f.yaml"))[2].startswith("error: --file names the file for")
    assert not {request["command"] for request in daemon.requests} & {"peer_add", "peer_remove"}


def test_a_peer_that_is_written_twice_counts_once_and_goes_whole(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    file, entry = tmp_path / "fips.yaml", f"- npub: {DELTA}\n  addresses: [{{transport: udp, addr: 'h:NUMBER'}}]\n"
    file.write_text("peers:\n" + entry.replace("NUMBER", "1") + entry.replace("NUMBER", "2"))
    daemon.answers["peer_add"] = ok({"npub": DELTA})
    daemon.answers["peer_remove"] = ok({"npub": DELTA})
    added = run("peer", "add", "delta", "h:3", "udp", "--save", "--file", str(file))
    assert (added[0], added[1].splitlines()[-1]) == (0, f"written into {file}")
    assert run("peer", "remove", "delta", "--save", "--file", str(file))[0] == 0
    assert file.read_text() == "peers: []\n"


def test_the_file_is_the_one_the_node_read(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    daemon.answers["peer_add"] = ok({"npub": DELTA})
    arguments = ("peer", "add", "delta", "192.0.2.7:2121", "udp", "--save")
    assert run(*arguments)[2] == "error: the node has read no configuration file; name one with --file\n"
    daemon.answers["show_status"]["data"]["config_files"] = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    assert run(*arguments)[0] == 0
    assert (tmp_path / "b.yaml").exists()


def test_a_file_the_node_would_not_read_stays_as_it_is(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "fips.yaml"
    file.write_text("tun: { enabled: maybe }\n")
    daemon.answers["peer_add"] = ok({"npub": DELTA})
    status, _, err = run("peer", "add", "delta", "192.0.2.7:2121", "udp", "--save", "--file", str(file))
    assert status == 1
    assert "was not changed, the node would not read it" in err
    assert file.read_text() == "tun: { enabled: maybe }\n"


def test_removing_says_what_the_node_says_and_still_cleans_the_file(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "fips.yaml"
    file.write_text(f"peers:\n- npub: {DELTA}\n  addresses:\n  - {{transport: udp, addr: 'h:1'}}\n")
    assert run("peer", "remove", "delta")[0] == 1
    status, out, _ = run("peer", "remove", "delta", "--save", "--file", str(file))
    assert (status, out.splitlines()[0]) == (0, "the node says: no such luck")
    assert file.read_text() == "peers: []\n"


# -- log, histories


def test_the_log_is_shown_and_its_level_set(run: Run, daemon: Daemon) -> None:
    daemon.answers["show_log"] = ok({"lines": [{"time_ms": 0, "level": "warn", "text": "a\x1bb"}]})
    assert run("log", "show")[1].rstrip().endswith("warn  a?b")
    daemon.answers["log_level"] = ok({"level": "debug"})
    assert run("log", "level", "debug") == (0, "log level debug\n", "")
    assert daemon.requests[-1]["params"] == {"level": "debug"}


def test_a_plot_has_three_lines_and_gaps() -> None:
    data = {"metric": "srtt_ms", "unit": "ms", "granularity_seconds": 1, "values": [None, 1.0, 2.0, 8.0]}
    assert plot(data) == [
        "srtt_ms (ms) — 4 samples @ 1s = 4s window (1 gaps)", "  min=1.000 max=8.000 last=8.000", "   ▁▂█",
    ]  # fmt: skip
    assert plot({**data, "values": [3.0, 3.0]})[2] == "  ▄▄"
    assert plot({**data, "values": [None]})[1] == "  min=0.000 max=0.000 last=-"
    assert plot({**data, "values": []}) == ["srtt_ms: no data yet"]


def test_a_history_is_drawn_as_wide_as_the_terminal(run: Run, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "42")
    values = [None] * 720 + [1.0] * 360 + [3.0] * 360
    daemon.answers["show_stats_history"] = ok(
        {"metric": "bytes_in", "unit": "B/s", "granularity_seconds": 60, "values": values}
    )
    title, extremes, drawn = run("stats", "history", "bytes_in")[1].splitlines()
    assert title.startswith("bytes_in (B/s) — 1440 samples")
    assert extremes == "  min=1.000 max=3.000 last=3.000"
    assert drawn == "  " + " " * 20 + "▁" * 10 + "█" * 10
    assert len(run("stats", "history", "bytes_in", "--plot")[1].splitlines()[2]) == 1442


def test_a_history_without_a_value_says_so(run: Run, daemon: Daemon) -> None:
    answer = {"metric": "bytes_in", "unit": "B/s", "granularity_seconds": 60, "values": [None] * 60}
    daemon.answers["show_stats_history"] = ok(answer)
    assert run("stats", "history", "bytes_in", "--granularity", "1m")[1] == (
        "bytes_in: nothing is remembered of that time yet; --granularity 1s has the last hour by seconds\n"
    )


@pytest.mark.parametrize("words", [("list",), ("metrics",), ("peers",), ("history", "mesh_size", "--peer", "delta")])
def test_stats_ask_the_commands_of_the_reference(run: Run, daemon: Daemon, words: tuple[str, ...]) -> None:
    run("stats", *words)
    asked = next(one for one in daemon.requests if one["command"].startswith(("show_stats", "show_metrics")))
    names = {"list": "show_stats_list", "metrics": "show_metrics", "peers": "show_stats_peers"}
    assert asked["command"] == names.get(words[0], "show_stats_history")
    if words[0] == "history":
        assert asked["params"] == {"metric": "mesh_size", "window": "10m", "granularity": "1s", "peer": DELTA}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("srtt_ms",), "error: srtt_ms is measured for each peer: add --peer NAME\n"),
        (("mesh_size", "--peer", "delta"), "error: mesh_size is measured for the whole node: leave --peer out\n"),
        (("nonsense",), "error: unknown metric: nonsense\n"),
    ],
)
def test_a_metric_looked_for_in_the_wrong_place_is_told_where_it_is(
    run: Run, daemon: Daemon, words: tuple[str, ...], says: str
) -> None:
    daemon.answers["show_stats_list"] = load("control/show_stats_list")["cases"][0]["answer"]
    daemon.answers["show_stats_history"] = {"status": "error", "message": f"unknown metric: {words[0]}"}
    assert run("stats", "history", *words) == (1, "", says)


# -- bench


def test_throughput_and_round_trips_are_measured_against_a_server() -> None:
    with speed.listen("::1", 0) as listener:
        server = threading.Thread(target=speed.serve, args=(listener, 3))
        server.start()
        result = speed.measure("::1", listener.getsockname()[1], 0.05)
        server.join(10)
    assert result["sent_bytes_per_second"] > 0
    assert result["received_bytes_per_second"] > 0
    assert 0 < result["round_trip_ms"]["least"] <= result["round_trip_ms"]["most"]


def test_a_bench_without_a_server_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_address", lambda npub: "::1")
    status, _, err = run("bench", "delta", "--port", "1")
    assert status == 1
    assert "run `meshctl bench --serve` there" in err
    assert run("bench")[2] == "error: name a peer, or be one with --serve\n"


# -- bug reports

NSEC = "nsec1" + "q" * 58


def test_a_report_holds_no_secrets_and_no_addresses(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    config = tmp_path / "fips.yaml"
    config.write_text(
        f"node: {{identity: {{nsec: {NSEC}}}}}\nmeshnode:\n  web: {{token_file: /x}}\npeers: [192.0.2.7]\n"
    )
    daemon.answers["show_status"]["data"]["config_files"] = [str(config)]
    daemon.answers["show_log"] = ok(
        {"lines": [{"time_ms": 0, "level": "info", "text": f"{NSEC} {'ab' * 32} 192.0.2.7"}]}
    )
    file = tmp_path / "report.tar.gz"
    status, out, _ = run("bugreport", str(file))
    assert status == 0
    assert "look into it before you send it" in out
    with tarfile.open(file) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        text = "".join(member.read().decode() for member in members.values() if member is not None)
    assert {"report/log.txt", "report/config-0.yaml", "report/show_peers.json", "report/versions.txt"} <= members.keys()
    assert NSEC not in text
    assert "ab" * 32 not in text
    assert "192.0.2.7" not in text
    assert BEE in text
    assert run("bugreport", str(file))[2].startswith(f"error: cannot write {file}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 127.0.0.1:2121 and fd69:1d53:90::1", "at 127.0.0.1:2121 and fd69:1d53:90::1"),
        ("version 0.1.0", "version 0.1.0"),
        ("key nsec1qqqq end", "key nsec1(removed) end"),
    ],
)
def test_what_is_no_secret_stays(text: str, expected: str) -> None:
    assert report.redacted(text, keep_addresses=False) == expected


def test_the_same_address_stays_recognisable() -> None:
    first, second = report.redacted("192.0.2.7 192.0.2.7", keep_addresses=False).split()
    assert first == second != "192.0.2.7"
    assert report.redacted("2001:db8::7", keep_addresses=False).startswith("address-")
    assert report.redacted("2001:db8::7", keep_addresses=True) == "2001:db8::7"
