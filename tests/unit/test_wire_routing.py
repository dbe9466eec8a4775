"""Announces, filters, lookups, datagrams and reports against the vectors (spec 03)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from meshnode.identity import Identity
from meshnode.wire import (
    AncestryEntry,
    FilterAnnounce,
    LookupRequest,
    LookupResponse,
    ReceiverReport,
    SenderReport,
    SessionDatagram,
    TreeAnnounce,
    WireError,
    parse_link_message,
)
from meshnode.wire.bloom import FILTER_SIZE, HASH_COUNT, SIZE_CLASS
from meshnode.wire.tree import declaration_bytes

from .vectors import address, load, names, unhex

MESH = load("mesh")
SECRET_OF = {name: row["secret_key"] for name, row in MESH["identities"].items() if not name.startswith("_")}
TREE, BLOOM, LOOKUP, MMP = MESH["tree_announce"], MESH["bloom"], MESH["lookup"], MESH["mmp"]
ANCESTRY_ERRORS = {
    "ok": None,
    "RootDeclarationMismatch": "a root has a parent",
    "AncestryTooShort": "the parent is missing",
    "AncestryParentMismatch": "the second entry is not the parent",
    "AncestryRootNotMinimum": "the root is not the smallest address",
}


def announce_of(case: dict[str, Any]) -> TreeAnnounce:
    entries = [AncestryEntry(address(e["node_addr"]), e["sequence"], e["timestamp"]) for e in case["entries"]]
    parent, signature = address(case["parent"]), unhex(case["signature"])
    return TreeAnnounce(case["sequence"], case["timestamp"], parent, entries, signature)


@pytest.mark.parametrize(
    "case", TREE["declaration_signing_bytes"], ids=names(TREE["declaration_signing_bytes"], "note")
)
def test_a_declaration_signs_forty_eight_bytes(case: dict[str, Any]) -> None:
    signed = declaration_bytes(unhex(case["node_addr"]), unhex(case["parent"]), case["sequence"], case["timestamp"])
    assert signed.hex() == case["signing_bytes"]
    assert sha256(signed).hexdigest() == case["sha256"]


@pytest.mark.parametrize("case", TREE["announce"], ids=names(TREE["announce"], "note"))
def test_announces_have_the_recorded_bytes_signature_and_verdict(case: dict[str, Any]) -> None:
    """Spec 03, sections 3.1 to 3.3."""
    announce, signer = announce_of(case), Identity.parse(SECRET_OF[case["signer"]])
    assert announce.encode().hex() == case["message"]
    assert len(announce.encode()) == case["length"]
    assert parse_link_message(announce.encode()) == announce
    assert announce.node_addr == signer.node_addr
    assert announce.signing_bytes().hex() == case["signing_bytes"]
    assert signer.peer.verify(announce.signing_bytes(), announce.signature)
    assert signer.sign(announce.signing_bytes(), bytes(32)) == announce.signature
    assert announce.ancestry_error() == ANCESTRY_ERRORS[case["semantic_result"]]
    assert announce.is_root == (announce.parent == signer.node_addr)


def test_every_kind_of_wrong_ancestry_has_a_recorded_case() -> None:
    assert {case["semantic_result"] for case in TREE["announce"]} == set(ANCESTRY_ERRORS)


@pytest.mark.parametrize("case", TREE["announce_decode"], ids=names(TREE["announce_decode"], "note"))
def test_announces_parse_or_are_refused_as_recorded(case: dict[str, Any]) -> None:
    body = unhex(case["payload_after_msg_type"])
    if case["result"] == "ok":
        assert body.startswith(TreeAnnounce.parse(body).encode()[1:])
        return
    with pytest.raises(WireError):
        TreeAnnounce.parse(body)


def test_an_announce_cut_anywhere_is_malformed() -> None:
    body = announce_of(TREE["announce"][1]).encode()[1:]
    for length in range(len(body)):
        with pytest.raises(WireError):
            TreeAnnounce.parse(body[:length])


@pytest.mark.parametrize("case", BLOOM["announce_decode"], ids=names(BLOOM["announce_decode"], "note"))
def test_filters_parse_or_are_refused_as_recorded(case: dict[str, Any]) -> None:
    body = unhex(case["head"]).ljust(case["length"], b"\x00")
    if case["result"] == "ok":
        announce = FilterAnnounce.parse(body)
        assert announce == FilterAnnounce(100, body[8], SIZE_CLASS, bytes(FILTER_SIZE))
        assert announce.encode() == b"\x20" + body
        return
    with pytest.raises(WireError):
        FilterAnnounce.parse(body)


def test_a_filter_announce_takes_1035_bytes_exactly() -> None:
    """Spec 03, section 5.1."""
    announce = FilterAnnounce(7, HASH_COUNT, SIZE_CLASS, bytes(range(256)) * 4)
    assert len(announce.encode()) == 1035
    assert parse_link_message(announce.encode()) == announce
    for wrong in (announce.encode() + b"\x00", announce.encode()[:-1], announce.encode()[:9]):
        with pytest.raises(WireError):
            parse_link_message(wrong)


@pytest.mark.parametrize("case", LOOKUP["proof_bytes"], ids=names(LOOKUP["proof_bytes"], "upstream_test"))
def test_a_proof_covers_request_target_and_coordinates(case: dict[str, Any]) -> None:
    coordinates = [address(value) for value in case["coords"]]
    response = LookupResponse(int(case["request_id"]), address(case["target"]), 1, coordinates, bytes(64))
    assert response.proof_bytes().hex() == case["proof_bytes"]
    assert len(response.proof_bytes()) == case["length"]
    assert sha256(response.proof_bytes()).hexdigest() == case["sha256"]


@pytest.mark.parametrize("case", LOOKUP["request"], ids=names(LOOKUP["request"], "request_id"))
def test_requests_have_the_recorded_bytes(case: dict[str, Any]) -> None:
    """Spec 03, section 7.1."""
    request = LookupRequest(
        int(case["request_id"]),
        address(case["target"]),
        address(case["origin"]),
        case["ttl"],
        case["min_mtu"],
        [address(value) for value in case["origin_coords"]],
    )
    assert request.encode().hex() == case["message"]
    assert parse_link_message(request.encode() + b"more") == request
    for length in range(1, len(request.encode())):
        with pytest.raises(WireError):
            parse_link_message(request.encode()[:length])


@pytest.mark.parametrize("case", LOOKUP["response"], ids=names(LOOKUP["response"], "request_id"))
def test_responses_have_the_recorded_bytes_and_proof(case: dict[str, Any]) -> None:
    target = Identity.parse(SECRET_OF[case["target_identity"]])
    coordinates = [address(value) for value in case["target_coords"]]
    response = LookupResponse(
        int(case["request_id"]), address(case["target"]), case["path_mtu"], coordinates, unhex(case["proof"])
    )
    assert response.encode().hex() == case["message"]
    assert response.proof_bytes().hex() == case["proof_bytes"]
    assert target.peer.verify(response.proof_bytes(), response.proof)
    assert target.sign(response.proof_bytes(), bytes(32)) == response.proof
    assert parse_link_message(response.encode() + b"more") == response
    for length in range(1, len(response.encode())):
        with pytest.raises(WireError):
            parse_link_message(response.encode()[:length])


def test_lookups_never_go_without_coordinates() -> None:
    """Spec 03, section 2: mandatory coordinates."""
    request = LookupRequest(1, bytes(16), bytes(16), 64, 0, [])
    response = LookupResponse(1, bytes(16), 1280, [], bytes(64))
    for message in (request, response):
        with pytest.raises(WireError):
            message.encode()
    with pytest.raises(WireError, match="empty"):
        LookupRequest.parse(bytes(45))
    with pytest.raises(WireError, match="empty"):
        LookupResponse.parse(bytes(92))


@pytest.mark.parametrize("name", ["session_datagram", "session_datagram_carrying_coords_required"])
def test_datagrams_have_the_recorded_bytes(name: str) -> None:
    case = MESH["signals_and_datagrams"][name]
    wire = unhex(case["message"])
    datagram = SessionDatagram(case["ttl"], case["path_mtu"], address(case["src"]), address(case["dest"]), wire[36:])
    assert datagram.encode() == wire
    assert parse_link_message(wire) == datagram
    assert datagram.payload.hex() == case.get("payload", datagram.payload.hex())


def test_a_datagram_may_be_empty_but_not_cut() -> None:
    assert SessionDatagram.parse(bytes(35)).payload == b""
    with pytest.raises(WireError):
        SessionDatagram.parse(bytes(34))


REPORTS = [(SenderReport, MMP["sender_report"], 7), (ReceiverReport, MMP["receiver_report"], 14)]


@pytest.mark.parametrize(("kind", "case", "count"), REPORTS, ids=["sender", "receiver"])
def test_reports_have_the_recorded_bytes_on_both_layers(kind: Any, case: dict[str, Any], count: int) -> None:
    report = kind(**case["fields"])
    assert len(case["fields"]) == count
    assert report.encode() == report.encode_link() == unhex(case["link_message"])
    assert report.encode_session() == unhex(case["session_body"])
    assert parse_link_message(report.encode() + b"more") == report
    assert kind.parse_session(report.encode_session() + b"more") == report
    assert kind.parse_link(b"\xff\xff\xff" + report.encode()[4:]) == report
    with pytest.raises(WireError):
        kind.parse_link(report.encode_link()[1:-1])
    with pytest.raises(WireError):
        kind.parse_session(report.encode_session()[:-1])


@pytest.mark.parametrize("case", MMP["receiver_sequences"], ids=names(MMP["receiver_sequences"], "note"))
def test_recorded_receiver_reports_encode_to_their_messages(case: dict[str, Any]) -> None:
    for fields, message in zip(case["reports"], case["messages"], strict=True):
        if fields is not None and fields != "none":
            assert ReceiverReport(**fields).encode().hex() == message


def test_the_printed_root_announce_parses() -> None:
    announce = parse_link_message(
        unhex(
            "1001 0100000000000000 00f1536500000000 126ef4053c5900f31563117f99b6ea3c 0100"
            "126ef4053c5900f31563117f99b6ea3c 0100000000000000 00f1536500000000"
            "0e0969dbd060c8d29dc2d95037ae39505bd1f5339033862cf3e4d427310314fc"
            "15408b03505ca52dfcb0540b24edd292ca403060972ef0bfedd182f74be4b434"
        )
    )
    assert isinstance(announce, TreeAnnounce)
    assert announce.is_root
    assert announce.ancestry_error() is None
    assert Identity.parse(SECRET_OF["C"]).peer.verify(announce.signing_bytes(), announce.signature)
