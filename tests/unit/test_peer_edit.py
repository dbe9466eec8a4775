"""Peers go into a configuration file and out of it, and everything else in it stays as it was written."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.config.load import parse
from meshnode.config.peer_edit import EditError, with_peer, without_peer

A, B, C = (f"npub1{letter * 58}" for letter in "acd")

FILES = {
    "nothing": "",
    "no peers": "node: {}\n",
    "no line end": "tun: { enabled: true }",
    "an empty list": "peers: []   # nobody yet\ntun: {}\n",
    "an empty key": "# mine\npeers:\ntun: {}\n",
    "an empty key with a comment": "peers:   # later\ntun: {}\n",
    "a block": f"peers:\n  - npub: {A}\n    alias: one\n    addresses:\n      - {{ transport: udp, addr: 'h:1' }}\n",
    "a block and more": f"peers:\n- npub: {A}\n  addresses:\n  - transport: udp\n    addr: h:1\n\n# end\ntun: {{}}\n",
    "a line": f"peers: [{{npub: {A}, addresses: [{{transport: udp, addr: 'h:1'}}]}}]\ntun: {{}}\n",
    "empty json": '{\n  "tun": {},\n  "peers": []\n}\n',
    "json": f'{{"peers": [{{"npub": "{A}", "addresses": [{{"transport": "udp", "addr": "h:1"}}]}}]}}',
}


def endpoints(text: str) -> dict[str, list[tuple[str, str]]]:
    config, _ = parse(text)
    return {peer.npub: [(one.transport, one.addr) for one in peer.addresses] for peer in config.peers}


def others(text: str) -> list[str]:
    """Lines that are not about peers, with their comments."""
    return [line for line in text.splitlines() if line.startswith(("#", "tun", "node"))]


@pytest.mark.parametrize("name", FILES)
def test_a_peer_is_added_to_any_file(name: str) -> None:
    before = FILES[name]
    after = with_peer(before, B, "two", "udp", "192.0.2.7:2121")
    assert endpoints(after) == {**endpoints(before), B: [("udp", "192.0.2.7:2121")]}
    assert others(after) == others(before)
    aliases = {peer.npub: peer.alias for peer in parse(after)[0].peers}
    assert aliases[B] == "two"


@pytest.mark.parametrize("name", [name for name in FILES if A in FILES[name]])
def test_a_known_peer_gets_one_more_address_once(name: str) -> None:
    after = with_peer(FILES[name], A, None, "tcp", "h:2")
    assert endpoints(after) == {A: [("udp", "h:1"), ("tcp", "h:2")]}
    assert with_peer(after, A, None, "tcp", "h:2") == after


@pytest.mark.parametrize("name", FILES)
def test_what_was_added_can_be_taken_out_again(name: str) -> None:
    added = with_peer(FILES[name], B, None, "udp", "h:9")
    removed = without_peer(added, B)
    assert endpoints(removed) == endpoints(FILES[name])
    assert others(removed) == others(FILES[name])


def test_one_of_several_is_taken_out_with_its_lines_and_no_others() -> None:
    text = ""
    for npub in (A, B, C):
        text = with_peer(text, npub, None, "udp", "h:1")
    text = text.replace(f"  - npub: {C}", f"  # the third\n  - npub: {C}")
    assert list(endpoints(without_peer(text, B))) == [A, C]
    assert "# the third" not in without_peer(text, B) or list(endpoints(without_peer(text, C))) == [A, B]
    assert without_peer(text, f"npub1{'e' * 58}") == text


@pytest.mark.parametrize("text", ["{}", "- a list\n", "peers: 5\n", "peers: [\n", f"peers:\n  - npub: {A}\n"])
def test_a_file_that_cannot_be_changed_is_an_error_and_not_a_mess(text: str) -> None:
    with pytest.raises(EditError):
        with_peer(text, A, None, "udp", "h:1")


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
@example("-", "h:1")
@example("--", "-")
def test_any_alias_and_address_come_back_as_they_were(alias: str, address: str) -> None:
    try:
        text = with_peer("", A, alias, "udp", address)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, EditError):
        assert not (alias + address).isprintable()  # what YAML cannot hold is refused when the text is checked
        return
    if (alias + address).isprintable():
        assert value["peers"][0]["alias"] == alias
        assert value["peers"][0]["addresses"][0]["addr"] == address
