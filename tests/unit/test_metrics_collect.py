"""Every family gets its samples, every sample has a family, and names follow the conventions of Prometheus."""

from __future__ import annotations

import re

import pytest

from meshnode.control.metrics.collect import Sample, samples
from meshnode.control.metrics.families import FAMILIES
from meshnode.control.view import View
from tests.unit.test_control_state import Chain


@pytest.fixture(scope="module")
def taken() -> list[Sample]:
    return list(samples(View.of(Chain().hosts[0].node)))


def test_every_sample_belongs_to_a_family_and_has_its_labels(taken: list[Sample]) -> None:
    for sample in taken:
        assert len(sample.labels) == len(FAMILIES[sample.family].labels), sample
        assert isinstance(sample.value, int | float)


def test_a_chain_shows_every_family_but_pools(taken: list[Sample]) -> None:
    assert FAMILIES.keys() - {sample.family for sample in taken} == {"transport_connections"}


def test_no_sample_is_told_twice(taken: list[Sample]) -> None:
    keys = [(sample.family, sample.labels) for sample in taken]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", FAMILIES)
def test_names_follow_the_conventions(name: str) -> None:
    family = FAMILIES[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert name.endswith("_total") == (family.kind == "counter")
    assert family.help.endswith(".")
    assert len(set(family.labels)) == len(family.labels)


def test_what_is_configured_and_not_there_is_told_as_zero(taken: list[Sample]) -> None:
    connected = {s.labels[0]: s.value for s in taken if s.family == "configured_peer_connected"}
    assert connected == {"bee": 1, "ghost": 0}


def test_a_round_trip_is_in_seconds(taken: list[Sample]) -> None:
    (value,) = [s.value for s in taken if s.family == "peer_round_trip_seconds"]
    assert 0.0005 < value < 0.1
