"""Host names: the aliases, the file over them, and its reloading."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.hosts import HostMap, host_name_problem

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dns.json").read_text())
_random = Random(14)
ALPHA, BRAVO, CHARLIE = (Identity.generate(_random.randbytes).peer for _ in range(3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hosts"


def write(path: Path, *lines: str) -> None:
    """Replace the file, with a time stamp that moves on every write."""
    stamp = path.stat().st_mtime_ns + 1_000_000_000 if path.exists() else 1_700_000_000_000_000_000
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, ns=(stamp, stamp))


def test_a_line_names_a_node(path: Path) -> None:
    write(path, f"alpha {ALPHA.npub}")
    hosts = HostMap(path)
    assert hosts.lookup("alpha") == ALPHA
    assert hosts.name_of(ALPHA.node_addr) == "alpha"
    assert hosts.warnings == []


def test_names_are_looked_up_and_kept_without_regard_to_case(path: Path) -> None:
    write(path, f"ChArLie {ALPHA.npub}")
    hosts = HostMap(path)
    assert hosts.lookup("CHARLIE") == hosts.lookup("charlie") == ALPHA
    assert hosts.name_of(ALPHA.node_addr) == "charlie"


def test_comments_blank_lines_and_any_white_space_are_fine(path: Path) -> None:
    write(path, "# a comment", "", "   ", "   # indented comment", f"\talpha \t {ALPHA.npub}  \r")
    hosts = HostMap(path)
    assert hosts.lookup("alpha") == ALPHA
    assert (len(hosts), hosts.warnings) == (1, [])


def test_a_missing_file_is_an_empty_map_without_a_warning(path: Path) -> None:
    hosts = HostMap(path)
    assert (len(hosts), hosts.warnings, hosts.lookup("alpha")) == (0, [], None)


def test_no_file_at_all_leaves_the_aliases() -> None:
    hosts = HostMap(None, [("alpha", ALPHA)])
    assert hosts.refresh() is False
    assert hosts.lookup("alpha") == ALPHA


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alpha", "1 fields"),
        (f"alpha {ALPHA.npub} # home", "4 fields"),
        (f"-alpha {ALPHA.npub}", "hyphen"),
        (f"alpha- {ALPHA.npub}", "hyphen"),
        (f"al_pha {ALPHA.npub}", "letters, digits"),
        (f"www.alpha {ALPHA.npub}", "letters, digits"),
        (f"{'a' * 64} {ALPHA.npub}", "64 characters"),
        (f"NPUB1x {ALPHA.npub}", "taken for an npub"),
        ("alpha npub1nonsense", "npub"),
    ],
)
def test_a_bad_line_is_left_out_and_reported_with_its_place(path: Path, line: str, reason: str) -> None:
    write(path, f"bravo {BRAVO.npub}", line)
    hosts = HostMap(path)
    assert len(hosts) == 1
    assert len(hosts.warnings) == 1
    assert f"{path}, line 2:" in hosts.warnings[0]
    assert reason in hosts.warnings[0]


def test_a_line_that_stays_wrong_is_reported_once_and_again_after_it_was_right(path: Path) -> None:
    write(path, "alpha nonsense")
    hosts = HostMap(path)
    write(path, "# moved down", "alpha nonsense")
    hosts.refresh()
    assert len(hosts.warnings) == 1
    write(path, f"alpha {ALPHA.npub}")
    hosts.refresh()
    write(path, "alpha nonsense")
    hosts.refresh()
    assert len(hosts.warnings) == 2


def test_the_last_of_two_equal_names_wins(path: Path) -> None:
    write(path, f"alpha {ALPHA.npub}", f"ALPHA {BRAVO.npub}")
    hosts = HostMap(path)
    assert hosts.lookup("alpha") == BRAVO
    assert hosts.name_of(ALPHA.node_addr) is None


def test_several_names_of_one_node_all_resolve_and_the_last_is_shown(path: Path) -> None:
    write(path, f"one {ALPHA.npub}", f"two {ALPHA.npub}")
    hosts = HostMap(path, [("zero", ALPHA)])
    assert {hosts.lookup(name) for name in ("zero", "one", "two")} == {ALPHA}
    assert hosts.name_of(ALPHA.node_addr) == "two"


def test_the_file_wins_over_an_alias_also_in_the_reverse_map(path: Path) -> None:
    write(path, f"bee {BRAVO.npub}")
    hosts = HostMap(path, [("bee", ALPHA), ("cee", CHARLIE)])
    assert hosts.lookup("bee") == BRAVO
    assert hosts.lookup("cee") == CHARLIE
    assert hosts.name_of(ALPHA.node_addr) is None


def test_an_alias_that_is_no_host_name_is_left_out_with_a_warning() -> None:
    hosts = HostMap(None, [("my laptop", ALPHA), ("bee", BRAVO)])
    assert len(hosts) == 1
    assert "my laptop" in hosts.warnings[0]


def test_the_file_is_read_again_when_it_appears_changes_and_vanishes(path: Path) -> None:
    hosts = HostMap(path, [("bee", CHARLIE)])
    write(path, f"alpha {ALPHA.npub}")
    assert hosts.refresh() is True
    assert hosts.lookup("alpha") == ALPHA
    assert hosts.refresh() is False
    write(path, f"alpha {BRAVO.npub}")
    assert hosts.refresh() is True
    assert hosts.lookup("alpha") == BRAVO
    path.unlink()
    assert hosts.refresh() is True
    assert hosts.lookup("alpha") is None
    assert hosts.lookup("bee") == CHARLIE


def test_an_older_time_stamp_counts_as_a_change(path: Path) -> None:
    write(path, f"alpha {ALPHA.npub}")
    hosts = HostMap(path)
    path.write_text(f"alpha {BRAVO.npub}\n")
    os.utime(path, ns=(5, 5))
    assert hosts.refresh() is True
    assert hosts.lookup("alpha") == BRAVO


@pytest.mark.parametrize(
    ("content", "reason"), [(b"alpha \xff\xfe", "UTF-8"), (b"#" * (2 << 20), "larger")], ids=["not text", "huge"]
)
def test_a_file_that_cannot_be_read_is_reported_once_and_counts_as_empty(
    path: Path, content: bytes, reason: str
) -> None:
    path.write_bytes(content)
    hosts = HostMap(path, [("bee", BRAVO)])
    os.utime(path, ns=(5, 5))
    hosts.refresh()
    assert len(hosts) == 1
    assert len(hosts.warnings) == 1
    assert reason in hosts.warnings[0]


def test_a_file_that_cannot_be_read_any_more_goes_on_meaning_what_it_said(path: Path) -> None:
    write(path, f"alpha {ALPHA.npub}")
    hosts = HostMap(path)
    path.write_bytes(b"alpha \xff\xfe")
    assert hosts.refresh()
    assert hosts.lookup("alpha") == ALPHA
    assert "stays in force" in hosts.warnings[0]


def test_something_that_is_not_a_file_is_reported_and_never_opened(path: Path) -> None:
    os.mkfifo(path)
    hosts = HostMap(path)
    assert "not a regular file" in hosts.warnings[0]
    path.unlink()
    write(path, f"alpha {ALPHA.npub}")
    hosts.refresh()
    assert hosts.lookup("alpha") == ALPHA


def test_replaced_aliases_do_not_linger() -> None:
    hosts = HostMap(None, [("alpha", ALPHA)])
    hosts.set_aliases([("bravo", BRAVO)])
    assert hosts.lookup("alpha") is None
    assert hosts.lookup("bravo") == BRAVO


def _address(hosts: HostMap, name: str) -> str | None:
    peer = hosts.lookup(name)
    return None if peer is None else peer.ipv6_text


def test_the_recorded_sequence_of_reloads_is_followed(path: Path) -> None:
    recorded = {row["after"]: row for row in VECTORS["hosts_file_reload"]}
    delta = _peer_of("hosts-file name AAAA")
    first, second = ALPHA, BRAVO
    steps: list[tuple[str, list[str] | None, str | None]] = [
        ("start", [f"delta {delta.npub}"], None),
        ("line for nobody added", [f"delta {delta.npub}", f"nobody {first.npub}"], first.ipv6_text),
        ("trailing comment on the line", [f"delta {delta.npub}", f"nobody {first.npub} # x"], None),
        ("bad name and bad npub", [f"delta {delta.npub}", f"no_body {first.npub}", "nobody npub1x"], None),
        ("same name twice", [f"delta {delta.npub}", f"nobody {first.npub}", f"nobody {second.npub}"], second.ipv6_text),
        ("file removed", None, None),
        ("file back", [f"delta {delta.npub}"], None),
    ]
    hosts = HostMap(path)
    for after, lines, nobody in steps:
        path.unlink(missing_ok=True) if lines is None else write(path, *lines)
        hosts.refresh()
        assert _address(hosts, "delta") == recorded[after]["delta.fips AAAA"][1], after
        assert _address(hosts, "nobody") == nobody, after
        assert (nobody is None) == (recorded[after]["nobody.fips AAAA"][0] == 3), after


def _peer_of(case: str) -> PeerIdentity:
    """Return the identity whose npub the recording asks for and that has the address of `case`."""
    address = next(row["decoded"]["aaaa"] for row in VECTORS["cases"] if row["case"] == case)
    query = next(row["query"] for row in VECTORS["cases"] if row["case"] == "npub AAAA")
    peer = PeerIdentity.from_npub(bytes.fromhex(query)[13:76].decode())
    assert peer.ipv6_text == address
    return peer


@given(st.text(max_size=70))
def test_any_text_is_a_host_name_or_has_a_problem(name: str) -> None:
    hosts = HostMap(None, [(name, ALPHA)])
    assert (hosts.lookup(name) == ALPHA) == (host_name_problem(name) is None)


@given(content=st.binary(max_size=300))
def test_any_file_content_is_read_or_reported(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-hosts"
    path.write_bytes(content)
    hosts = HostMap(path)
    assert hosts.lookup("bee") is None
