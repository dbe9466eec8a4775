"""The access control lists: what files say, what is decided, what happens while they change."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.access import REMEMBERED, AccessControl, Decision, Refusal
from meshnode.config.access_list import parse, with_entry, without_entries
from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.hosts import HostMap
from tests.unit.vectors import load

rng = Random(5)
ANN, BOB, CAT = (Identity.generate(rng.randbytes).peer for _ in range(3))
SECRET = Identity.generate(rng.randbytes)
PATH = (1, "192.0.2.1:2121")


class Rig:
    """Lists in a directory, names, and a clock that stands until it is moved."""

    def __init__(self, directory: Path) -> None:
        self.allow, self.deny, self.hosts_file = (directory / name for name in ("allow", "deny", "hosts"))
        self.now = 100.0
        self.told: list[tuple[Refusal, int]] = []

    def open(self, allow: str | None = None, deny: str | None = None) -> AccessControl:
        self.write(self.allow, allow)
        self.write(self.deny, deny)
        self.hosts = HostMap(self.hosts_file, [("bob", BOB)])
        self.lists = AccessControl(
            self.allow,
            self.deny,
            self.hosts,
            lambda: self.now,
            lambda: 1_700_000_000 + self.now,
            lambda refusal, left_out: self.told.append((refusal, left_out)),
        )
        return self.lists

    def write(self, path: Path, text: str | None) -> None:
        if text is None:
            path.unlink(missing_ok=True)
            return
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(text)
        os.utime(path, ns=(stamp + 1_000_000, stamp + 1_000_000))

    def admitted(self) -> list[bool]:
        return [self.lists.admit(peer, "inbound_handshake", PATH) for peer in (ANN, BOB, CAT)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize(
    ("allow", "deny", "admitted", "mode", "default", "active"),
    [
        (None, None, [True, True, True], "default_open", "allow", False),
        ("", "", [True, True, True], "default_open", "allow", False),
        (f"{ANN.npub}\n", None, [True, True, True], "allowlist", "allow", True),
        (f"{ANN.npub}\n", "ALL\n", [True, False, False], "allow_then_deny_all", "deny", True),
        (f"{ANN.npub}\n", f"{ANN.npub}\nbob\n", [True, False, True], "allow_then_deny", "allow", True),
        (None, "ALL", [False, False, False], "deny_all", "deny", True),
        (None, "all # but who\n", [False, False, False], "deny_all", "deny", True),
        ("All\n", "ALL\n", [True, True, True], "allow_all", "allow", True),
        (None, "BOB\n", [True, False, True], "denylist", "allow", True),
        (None, f"  {CAT.npub}  # trailing\n\n#{ANN.npub}\n", [True, True, False], "denylist", "allow", True),
        (None, f"{BOB.npub.upper()}\n", [True, False, True], "denylist", "allow", True),
    ],
)
def test_lists_decide_as_the_specification_says(
    rig: Rig, allow: str | None, deny: str | None, admitted: list[bool], mode: str, default: str, active: bool
) -> None:
    status = rig.open(allow, deny).status()
    assert rig.admitted() == admitted
    assert (status["effective_mode"], status["default_decision"], status["enforcement_active"]) == (
        mode,
        default,
        active,
    )


def test_the_status_is_what_a_live_daemon_answered_for_the_same_files(rig: Rig) -> None:
    (case,) = [case for case in load("control/show_acl")["cases"] if "ACL loaded" in case["case"]]
    recorded = case["answer"]["data"]
    lists = rig.open("\n".join(recorded["allow_file_entries"]), "\n".join(recorded["deny_file_entries"]))
    status = dict(lists.status())
    files = {"allow_file": str(rig.allow), "deny_file": str(rig.deny)}
    assert {key: status[key] for key in recorded} == {**recorded, **files}


def test_a_line_that_cannot_be_read_is_named_and_the_rest_counts(rig: Rig) -> None:
    lists = rig.open(None, f"two words\nnobody\nnpub1broken\n{CAT.npub}\n")
    assert rig.admitted() == [True, True, False]
    assert [line.split(": ")[0] for line in lists.warnings] == [f"{rig.deny}, line {number}" for number in (1, 2, 3)]
    assert "no node is called 'nobody'" in lists.warnings[1]
    assert list(lists.status()["problems"]) == sorted(lists.warnings)


@pytest.mark.parametrize("secret", [SECRET.nsec, SECRET.nsec.upper(), SECRET.secret.hex()])
def test_a_secret_key_in_a_list_is_never_repeated(rig: Rig, secret: str) -> None:
    lists = rig.open(None, f"{secret}\n")
    assert "secret key" in lists.warnings[0]
    assert secret not in f"{lists.warnings}{lists.status()}"


def test_a_change_of_a_file_counts_at_the_next_look(rig: Rig) -> None:
    lists = rig.open(None, None)
    assert not lists.refresh()
    rig.write(rig.deny, "bob\n")
    assert lists.refresh()
    assert not lists.refresh()
    assert rig.admitted() == [True, False, True]


def test_a_list_that_is_gone_for_a_moment_stays_in_force(rig: Rig) -> None:
    lists = rig.open(f"{ANN.npub}\n", "ALL\n")
    rig.write(rig.allow, None)
    assert not lists.refresh()
    assert rig.admitted() == [True, False, False]
    rig.write(rig.allow, f"{ANN.npub}\nbob\n")
    assert lists.refresh()
    assert rig.admitted() == [True, True, False]


@pytest.mark.parametrize("text", [None, ""])
def test_a_list_that_stays_away_is_empty(rig: Rig, text: str | None) -> None:
    lists = rig.open(None, "ALL\n")
    rig.write(rig.deny, text)
    assert not lists.refresh()
    assert rig.admitted() == [False, False, False]
    assert lists.refresh()
    assert rig.admitted() == [True, True, True]


def test_a_list_of_comments_is_empty_at_once(rig: Rig) -> None:
    lists = rig.open(None, "ALL\n")
    rig.write(rig.deny, "# ALL\n")
    assert lists.refresh()
    assert rig.admitted() == [True, True, True]


def test_a_list_that_becomes_unreadable_stays_in_force(rig: Rig) -> None:
    lists = rig.open(None, "bob\n")
    rig.deny.unlink()
    rig.deny.mkdir()
    assert lists.refresh()
    assert "stays in force" in lists.warnings[-1]
    assert rig.admitted() == [True, False, True]


def test_a_deny_list_that_was_never_readable_denies_all_but_the_allowed(rig: Rig) -> None:
    rig.deny.mkdir()
    rig.write(rig.allow, f"{ANN.npub}\n")
    lists = _open_as_it_is(rig)
    assert rig.admitted() == [True, False, False]
    assert lists.status()["effective_mode"] == "allow_then_deny_all"
    assert any("nobody is admitted who is not in" in line for line in lists.warnings)
    rig.deny.rmdir()
    lists.refresh()
    assert rig.admitted() == [True, True, True]


def _open_as_it_is(rig: Rig) -> AccessControl:
    rig.hosts = HostMap(rig.hosts_file, [("bob", BOB)])
    rig.lists = AccessControl(rig.allow, rig.deny, rig.hosts, lambda: rig.now, lambda: 0.0, lambda *_: None)
    return rig.lists


def test_a_name_follows_the_hosts_file_and_the_aliases(rig: Rig) -> None:
    lists = rig.open(None, "ann\n")
    assert rig.admitted() == [True, True, True]
    rig.write(rig.hosts_file, f"ann {ANN.npub}\n")
    rig.hosts.refresh()  # whoever looks at the hosts file first: a question to the name service, for one
    assert lists.refresh()
    assert rig.admitted() == [False, True, True]
    rig.hosts.set_aliases([("ann", CAT)])
    rig.write(rig.hosts_file, None)
    rig.hosts.refresh()
    assert lists.refresh()
    assert rig.admitted() == [True, True, False]


@pytest.mark.parametrize("spoilt", [b"", b"# caf\xe9\n", b"other npub1broken\n", b"#" * (2 << 20)])
def test_a_denied_name_that_nobody_bears_any_more_opens_no_door(rig: Rig, spoilt: bytes) -> None:
    rig.write(rig.hosts_file, f"ann {ANN.npub}\n")
    lists = rig.open(None, "ann\n")
    assert rig.admitted() == [False, True, True]
    rig.hosts_file.write_bytes(spoilt)
    rig.hosts.refresh()
    lists.refresh()
    assert rig.admitted() == [False, True, True]
    assert len(lists.warnings + rig.hosts.warnings) >= 1
    rig.write(rig.deny, "# ann\n")
    lists.refresh()
    assert rig.admitted() == [True, True, True]


def test_an_allowed_name_that_nobody_bears_any_more_opens_no_door_either(rig: Rig) -> None:
    rig.write(rig.hosts_file, f"ann {ANN.npub}\n")
    lists = rig.open("ann\n", "ALL\n")
    assert rig.admitted() == [True, False, False]
    rig.write(rig.hosts_file, "")
    rig.hosts.refresh()
    assert lists.refresh()
    assert rig.admitted() == [False, False, False]


def test_names_that_could_never_be_read_deny_all_but_the_allowed(rig: Rig) -> None:
    rig.hosts_file.write_bytes(b"ann \xff\n")
    lists = rig.open(f"{CAT.npub}\n", "ann\n")
    assert rig.admitted() == [False, False, True]
    assert f"nobody is admitted who is not in {rig.allow}, until {rig.hosts_file} can be read" in lists.warnings
    rig.write(rig.hosts_file, f"ann {ANN.npub}\n")
    rig.hosts.refresh()
    lists.refresh()
    assert rig.admitted() == [False, True, True]


def test_names_that_cannot_be_read_matter_to_nobody_who_is_denied_by_key(rig: Rig) -> None:
    rig.hosts_file.write_bytes(b"ann \xff\n")
    rig.open(None, f"{ANN.npub}\nbob\n")
    assert rig.admitted() == [False, False, True]


def test_the_mark_that_some_editors_begin_a_file_with_hides_no_line(rig: Rig) -> None:
    rig.open(None, "\ufeffALL\n")
    assert rig.admitted() == [False, False, False]


def test_a_problem_is_told_once_until_it_is_another_one(rig: Rig) -> None:
    lists = rig.open(None, "nobody\n")
    assert len(lists.warnings) == 1
    lists.warnings.clear()
    rig.write(rig.deny, "nobody\nbob\n")
    lists.refresh()
    assert lists.warnings == []
    rig.write(rig.deny, "bob\nnobody\n")
    lists.refresh()
    assert len(lists.warnings) == 1


def test_refusals_are_told_at_a_bounded_rate_and_counted_all(rig: Rig) -> None:
    lists = rig.open(None, "ALL\n")
    for _ in range(50):
        lists.admit(ANN, "inbound_handshake", PATH)
    assert len(rig.told) == 1
    rig.now += 61
    lists.admit(ANN, "outbound_connect", (2, "10.0.0.1:1"))
    assert [left_out for _, left_out in rig.told] == [0, 49]
    assert rig.told[1][0].context == "outbound_connect"
    (row,) = lists.status()["refusals"]
    assert (row["count"], row["remote_addr"]) == (51, "10.0.0.1:1")


def test_a_crowd_of_refused_nodes_neither_fills_the_memory_nor_the_log(rig: Rig) -> None:
    lists = rig.open(None, "ALL\n")
    crowd = Random(1)
    for _ in range(REMEMBERED + 36):
        lists.admit(Identity.generate(crowd.randbytes).peer, "inbound_handshake", PATH)
    assert len(rig.told) == 10
    assert len(lists.status()["refusals"]) == REMEMBERED
    assert lists.status()["refusals_total"] == REMEMBERED + 36


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_the_files_hold_somebody_decides(tmp_path_factory: pytest.TempPathFactory, one: str, two: str) -> None:
    rig = Rig(tmp_path_factory.mktemp("lists"))
    for path, text in ((rig.allow, one), (rig.deny, two)):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert _open_as_it_is(rig).decide(ANN) in Decision


# -- changing one entry


@given(st.lists(st.sampled_from(["# a remark", "", ANN.npub, f"{BOB.npub} # b", "ALL", "two words"]), max_size=8))
def test_changing_an_entry_leaves_everything_else_as_it_is(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    added = with_entry(text, CAT.npub, "cat")
    assert added.startswith(text)
    assert CAT.npub in parse(added).tokens
    assert without_entries(added, lambda token: token == CAT.npub) == text


def test_an_entry_is_added_behind_a_last_line_without_an_end() -> None:
    assert with_entry("ALL", "bob") == "ALL\nbob\n"


def test_identities_of_one_node_written_twice_are_one() -> None:
    assert PeerIdentity.from_npub(ANN.npub.upper()) == ANN
