"""The gateway's control socket gives the recorded answers (spec 06 section 10)."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest

from meshnode.config.load import parse
from meshnode.control.commands import CommandError
from meshnode.gateway.answers import GatewayAnswers
from meshnode.gateway.pool import AddressPool, Prefix
from tests.unit.vectors import load

CONFIG = "gateway: {enabled: true, pool: 'fd01::/120', lan_interface: lan0, dns: {listen: '[::1]:5399'}}"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock) -> tuple[GatewayAnswers, AddressPool]:
    section = parse(CONFIG)[0].gateway
    assert section is not None
    pool = AddressPool(Prefix(section.pool), section.dns.ttl, section.pool_grace_period)
    return GatewayAnswers(section, pool, lambda: len(pool.leases), clock), pool


def recorded(command: str) -> list[dict[str, Any]]:
    cases = load(f"control/{command}")["cases"]
    return [case["answer"]["data"] for case in cases if case["answer"]["status"] == "ok"]


def plain(answers: GatewayAnswers, command: str) -> dict[str, Any]:
    return {key: list(value) if key == "mappings" else value for key, value in answers.answer(command, None).items()}


def test_a_fresh_gateway_answers_as_recorded() -> None:
    answers, _ = make(Clock())
    assert plain(answers, "show_gateway") == recorded("show_gateway")[0]


def test_a_lent_address_is_shown_with_the_recorded_keys() -> None:
    clock = Clock()
    answers, pool = make(clock)
    mesh = IPv6Address("fd97:467a::1").packed
    pool.lend(mesh, "printer.fips", clock.now)
    clock.now += 7.5
    (row,) = plain(answers, "show_mappings")["mappings"]
    assert row == {
        "virtual_ip": "fd01::1",
        "mesh_addr": "fd97:467a::1",
        "node_addr": "97467a00000000000000000000000100",
        "dns_name": "printer.fips",
        "state": "Allocated",
        "sessions": 0,
        "age_secs": 7,
        "last_ref_secs": 7,
    }
    shown = [rows["mappings"][0] for rows in recorded("show_mappings") if rows["mappings"]]
    assert {type(value) for value in row.values()} == {type(value) for value in shown[0].values()}
    assert set(row) == set(shown[0])


def test_other_commands_are_unknown() -> None:
    answers, _ = make(Clock())
    with pytest.raises(CommandError, match="unknown command: show_peers"):
        answers.answer("show_peers", None)
