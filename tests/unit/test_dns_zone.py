"""What a query gets: every recorded exchange, our deliberate differences, and the rules behind both."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.identity import Identity, PeerIdentity
from meshnode.ipv6.dns import FipsZone
from meshnode.ipv6.dns_message import DnsFormatError, parse_query
from meshnode.ipv6.hosts import HostMap
from tests.unit.test_dns_message import question

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dns.json").read_text())
DELTA = PeerIdentity.from_npub("npub1k8x08m9y5acfu5apxjetpsvlyhv4444qsatpgx36kqlxshs8432q0s6mmg")
CHARLIE = PeerIdentity.from_npub("npub1drn0j38xv59dxer39fcsjj7vv78mzlv3w4x8kzzqftxeunz3txps77jy0f")
BEE = PeerIdentity.from_npub("npub1yutuesdf95tgktcm7zrrgxmc030fw5af6usegterjv6wa9zgpjus7fad5d")
ABSENT = PeerIdentity.from_npub("npub14uyx9duys7yt26xhrqf5havxwwe7r7u245vea5xk385qux376mysn6x8c8")

HEAD = "1234"
DELTA_QUESTION = "0564656c7461046669707300001c0001"
DELTA_ANSWER = f"{HEAD}84000001000100000000{DELTA_QUESTION}c00c001c00010000012c0010{DELTA.ipv6.hex()}"
COPIED = "records of a query are never copied into the answer"
LARGE = "queries up to 4096 bytes are read"
NOTIMP = "an operation other than a query is refused, under its own number"
DIFFERENT: dict[str, tuple[str | None, str]] = {
    "npub type 65280": ("empty", "unknown types are answered like any other type"),
    "npub mixed case": ("address", "npubs are read without regard to case, for resolvers that randomise it"),
    "opcode STATUS": (f"{HEAD}94040001000000000000{DELTA_QUESTION}", NOTIMP),
    "opcode UPDATE": (f"{HEAD}ac040001000000000000{DELTA_QUESTION}", NOTIMP),
    "opcode 15": (f"{HEAD}fc040001000000000000{DELTA_QUESTION}", NOTIMP),
    "QR set (an answer sent to us)": (None, "responses are not questions"),
    "answer section in the query": (DELTA_ANSWER, COPIED),
    "answer record in the query comes back first": (DELTA_ANSWER, COPIED),
    "authority record in the query comes back": (f"0001{DELTA_ANSWER[4:]}", COPIED),
    "query of 513 bytes": (DELTA_ANSWER, LARGE),
    "query of 600 bytes": (DELTA_ANSWER, LARGE),
}
"""Where we answer otherwise on purpose: the answer in hex (or its kind), and why."""

ROWS = [row for row in VECTORS["cases"] + VECTORS["more"] if row["proto"] == "udp" and row["to"] == "[::1]:5354"]


class Bench:
    """A zone as in the recording, remembering which identities it announced."""

    def __init__(self, path: Path | None = None, ttl: int = 300) -> None:
        self.resolved: list[PeerIdentity] = []
        self.hosts = HostMap(path, [("bee", BEE), ("absent", ABSENT), ("delta", DELTA), ("Charlie", CHARLIE)])
        self.zone = FipsZone(self.hosts, ttl, self.resolved.append)

    def ask(self, message: bytes) -> bytes | None:
        try:
            return self.zone.answer(parse_query(message))
        except DnsFormatError:
            return None


def identify(row: dict[str, Any]) -> str:
    return str(row["case"])


@pytest.mark.parametrize("row", [row for row in ROWS if row["case"] not in DIFFERENT], ids=identify)
def test_a_recorded_query_gets_the_recorded_answer(row: dict[str, Any]) -> None:
    answer = Bench().ask(bytes.fromhex(row["query"]))
    assert (answer and answer.hex()) == row["answer"]


@pytest.mark.parametrize("row", [row for row in ROWS if row["case"] in DIFFERENT], ids=identify)
def test_a_deliberate_difference_is_the_documented_one(row: dict[str, Any]) -> None:
    expected, _why = DIFFERENT[row["case"]]
    query = row["query"]
    if expected in ("empty", "address"):
        flags = f"{HEAD}8400000100{'01' if expected == 'address' else '00'}00000000"
        record = f"c00c001c00010000012c0010{DELTA.ipv6.hex()}" if expected == "address" else ""
        expected = flags + query[24:] + record
    answer = Bench().ask(bytes.fromhex(query))
    assert (answer and answer.hex()) == expected
    assert expected != row["answer"]


def test_every_deliberate_difference_is_about_a_recorded_query() -> None:
    assert set(DIFFERENT) <= {row["case"] for row in ROWS}


@pytest.mark.parametrize("qtype", VECTORS["query_type_probe"]["asked"])
def test_every_type_but_aaaa_gets_an_empty_answer(qtype: int) -> None:
    answer = Bench().ask(question("delta.fips", qtype))
    assert answer is not None
    assert answer[2:8] == bytes.fromhex("840000010001" if qtype == 28 else "840000010000")


@pytest.mark.parametrize("qclass", VECTORS["query_class_probe"]["asked"])
def test_the_recorded_classes_are_answered_with_class_in(qclass: int) -> None:
    message = question("delta.fips", qclass=qclass)
    answer = Bench().ask(message)
    assert (answer is not None) == (qclass in VECTORS["query_class_probe"]["answered"])
    assert answer is None or (answer[12:28], answer[32:34]) == (message[12:28], b"\x00\x01")


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_operations_are_not_implemented_and_resolve_nothing(opcode: int) -> None:
    bench = Bench()
    answer = bench.ask(question("delta.fips", flags=opcode << 11))
    assert answer is not None
    assert answer[2:4] == (0x8404 | opcode << 11).to_bytes(2, "big")
    assert bench.resolved == []
    assert bench.zone.counters.not_implemented == 1


def test_the_identity_is_announced_for_an_address_and_for_nothing_else() -> None:
    bench = Bench()
    for name, qtype in [("delta.fips", 1), ("nobody.fips", 28), ("example.com", 28), ("delta.fips", 28)]:
        bench.ask(question(name, qtype))
    assert bench.resolved == [DELTA]


def test_the_identity_is_announced_before_the_answer_exists() -> None:
    def refuse(peer: PeerIdentity) -> None:
        raise LookupError(peer)

    zone = FipsZone(HostMap(None, [("delta", DELTA)]), 300, refuse)
    with pytest.raises(LookupError):
        zone.answer(parse_query(question("delta.fips")))


def test_a_changed_hosts_file_is_seen_by_the_next_query(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    bench = Bench(path)
    assert (bench.ask(question("newcomer.fips")) or b"")[3] == 3
    path.write_text(f"newcomer {DELTA.npub}\n")
    os.utime(path, ns=(1, 1))
    assert (bench.ask(question("newcomer.fips")) or b"").endswith(DELTA.ipv6)


def test_a_host_name_wins_over_nothing_but_npubs_resolve_without_any_file() -> None:
    stranger = Identity.generate(Random(7).randbytes).peer
    bench = Bench(ttl=4294967295)
    answer = bench.ask(question(f"{stranger.npub}.fips"))
    assert (answer or b"").endswith(b"\xff\xff\xff\xff\x00\x10" + stranger.ipv6)
    assert bench.resolved == [stranger]


@pytest.mark.parametrize("name", ["fips", "FIPS", "delta.fips", "a.b.FiPs"])
def test_names_of_the_zone_concern_it(name: str) -> None:
    assert FipsZone.concerns(parse_query(question(name)))


@pytest.mark.parametrize("name", ["", "example.com", "notfips", "fips.example", "delta.fipsy"])
def test_other_names_do_not_concern_the_zone(name: str) -> None:
    assert not FipsZone.concerns(parse_query(question(name)))


@given(st.binary(max_size=600))
def test_any_datagram_is_answered_or_dropped(datagram: bytes) -> None:
    answer = Bench().ask(datagram)
    assert answer is None or answer[:2] == datagram[:2]


@given(st.data())
def test_any_damage_to_a_real_query_is_answered_or_dropped(data: st.DataObject) -> None:
    damaged = bytearray.fromhex(data.draw(st.sampled_from([row["query"] for row in ROWS if row["query"]])))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    answer = Bench().ask(bytes(damaged))
    assert answer is None or len(answer) <= len(damaged) + 64 * 8
