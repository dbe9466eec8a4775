"""`meshctl acl`: files changed entry by entry, and what a person reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.cli import acl
from meshnode.cli.client import Client, ToolError
from meshnode.cli.main import main
from meshnode.cli.views import VIEWS
from meshnode.config.access_list import parse
from tests.unit.test_cli_main import BEE, DELTA, Daemon


class Rig:
    """A node that says where its lists lie, and the lists."""

    def __init__(self, directory: Path, daemon: Daemon) -> None:
        self.allow, self.deny = directory / "peers.allow", directory / "peers.deny"
        self.client = Client(str(daemon.path))
        files = {"allow_file": str(self.allow), "deny_file": str(self.deny)}
        daemon.answers["show_acl"] = {"status": "ok", "data": files}
        peers = {"peers": [{"npub": BEE, "display_name": "bee"}]}
        daemon.answers["show_peers"] = {"status": "ok", "data": peers}
        daemon.answers["show_identity_cache"] = {"status": "ok", "data": {"entries": []}}

    def do(self, verb: str, who: str) -> list[str]:
        return acl.report(verb, acl.change(verb, who, self.client))

    def tokens(self) -> tuple[set[str], set[str]]:
        lists = [parse(path.read_text() if path.exists() else "") for path in (self.allow, self.deny)]
        allow, deny = ({*found.tokens, *(["ALL"] if found.everybody else [])} for found in lists)
        return allow, deny


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    daemon = Daemon(tmp_path / "control.sock")
    yield Rig(tmp_path, daemon)
    daemon.close()


def test_denying_and_allowing_moves_a_node_from_list_to_list(rig: Rig) -> None:
    assert "within a second" in rig.do("deny", BEE)[0]
    assert rig.tokens() == (set(), {BEE})
    rig.do("allow", BEE)
    assert rig.tokens() == ({BEE}, set())
    rig.do("remove", BEE)
    assert rig.tokens() == (set(), set())


def test_a_name_becomes_an_npub_with_the_name_as_a_remark(rig: Rig) -> None:
    rig.do("deny", "bee")
    assert rig.deny.read_text() == f"{BEE}  # bee\n"


def test_an_entry_is_found_however_it_is_written(rig: Rig) -> None:
    rig.deny.write_text(f"# mine\nBee\n{BEE.upper()}\n{DELTA}\n")
    rig.do("remove", BEE)
    assert rig.deny.read_text() == f"# mine\n{DELTA}\n"


def test_nothing_is_written_when_there_is_nothing_to_change(rig: Rig) -> None:
    rig.do("deny", BEE)
    before = rig.deny.stat().st_ino
    assert "nothing to change" in rig.do("deny", "bee")[0]
    assert rig.deny.stat().st_ino == before
    assert "nothing to change" in rig.do("remove", DELTA)[0]


def test_everybody_is_an_entry_like_others(rig: Rig) -> None:
    rig.deny.write_text(f"{BEE}\n")
    rig.do("deny", "all")
    assert rig.tokens() == (set(), {BEE, "ALL"})
    rig.do("remove", "ALL")
    assert rig.tokens() == (set(), {BEE})


def test_mode_of_the_file_and_the_link_to_it_stay(rig: Rig, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("")
    real.chmod(0o600)
    rig.deny.symlink_to(real)
    rig.do("deny", BEE)
    assert rig.deny.is_symlink()
    assert real.read_text() == f"{BEE}\n"
    assert real.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("who", ["npub1broken", "stranger"])
def test_what_is_no_node_is_refused_and_nothing_written(rig: Rig, who: str) -> None:
    with pytest.raises(ToolError):
        rig.do("deny", who)
    assert not rig.deny.exists()


def test_a_list_that_cannot_be_written_is_one_line(rig: Rig) -> None:
    rig.deny.mkdir()
    with pytest.raises(ToolError, match="cannot read"):
        rig.do("deny", BEE)


def test_a_person_reads_who_was_refused_and_what_is_wrong() -> None:
    data = {
        "effective_mode": "allow_then_deny_all",
        "default_decision": "deny",
        "allow_file": "/etc/fips/peers.allow",
        "deny_file": "/etc/fips/peers.deny",
        "allow_all": False,
        "deny_all": True,
        "allow_entries": [BEE],
        "deny_entries": [],
        "problems": ["/etc/fips/peers.allow, line 3: no node is called 'x'"],
        "refusals_total": 7,
        "refusals": [
            {
                "npub": DELTA,
                "context": "inbound_handshake",
                "remote_addr": "192.0.2.9:2121",
                "count": 7,
                "last_ms": 1000,
            }
        ],
    }
    text = "\n".join(VIEWS["acl"](data, 61.0))
    assert "only the nodes in the allow list are welcome" in text
    assert f"  {BEE}" in text
    assert "  ALL" in text
    assert "refused lately (7 times in all)" in text
    assert "1m00s" in text
    assert "192.0.2.9:2121" in text
    assert "no node is called" in text


def test_no_list_is_touched_where_the_named_node_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("meshnode.cli.acl.machine_directory", lambda: tmp_path)
    assert main(["-s", str(tmp_path / "mistyped.sock"), "acl", "deny", "ALL"]) == 1
    assert "there is no such socket" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
