"""What a configuration file comes to in the terms of a node."""

from __future__ import annotations

from meshnode.config.load import parse
from meshnode.identity import Identity
from meshnode.node.peering import PeerAddress
from meshnode.settings import configured_peers

OWN, PEER = Identity(bytes(31) + b"\x01"), Identity(bytes(31) + b"\x02")


def _said_twice(first: str, second: str) -> str:
    return f"peers: [{{npub: {PEER.npub}, {first}}}, {{npub: {PEER.npub.upper()}, {second}}}]"


def test_entries_of_one_peer_are_one_peer_with_all_addresses() -> None:
    """Spec 05 section 5.18: one dial, and the last alias counts."""
    text = _said_twice(
        "alias: a, connect_policy: manual, addresses: [{transport: udp, addr: 'h:1', priority: 5}]",
        "alias: b, auto_reconnect: false, "
        "addresses: [{transport: tcp, addr: 'h:2'}, {transport: udp, addr: 'h:1', priority: 5}]",
    )
    (peer,) = configured_peers(parse(text)[0], OWN.peer, [].append)
    assert peer.identity == PEER.peer
    assert peer.addresses == [PeerAddress("udp", "h:1", 5), PeerAddress("tcp", "h:2")]
    assert (peer.alias, peer.auto_connect, peer.auto_reconnect) == ("b", True, False)


def test_an_alias_of_an_earlier_entry_stays_where_the_last_has_none() -> None:
    addresses = "addresses: [{transport: udp, addr: 'h:1'}]"
    (peer,) = configured_peers(parse(_said_twice(f"alias: a, {addresses}", addresses))[0], OWN.peer, [].append)
    assert peer.alias == "a"


def test_the_node_itself_is_no_peer() -> None:
    said: list[str] = []
    text = f"peers: [{{npub: {OWN.npub}, alias: me, addresses: [{{transport: udp, addr: 'h:1'}}]}}]"
    assert configured_peers(parse(text)[0], OWN.peer, said.append) == []
    assert said == ["peer me is this node itself and is passed over"]
