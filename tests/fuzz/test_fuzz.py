"""A bounded pass of every fuzz target: the corpus, mutations of it, and what Hypothesis thinks of."""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.machines import MACHINES
from tests.fuzz.mutation import CORPUS, LONGEST, Mutator, seeds
from tests.fuzz.parsers import PARSERS
from tests.fuzz.tape import Tape
from tests.fuzz.targets import TARGETS

_LONG = 20 if os.environ.get("MESHNODE_LONG") == "1" else 1
_MUTATIONS = {
    "config": 60,
    "handshake": 60,
    "hosts": 200,
    "scenario": 10,
    "web": 200,
    "commands": 200,
    **dict.fromkeys(MACHINES, 25),
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept_still_passes(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_what_was_kept_pass(name: str) -> None:
    mutator = Mutator(seeds(name), Random(name))
    for _ in range(_MUTATIONS.get(name, 800) * _LONG):
        data = mutator.next()
        try:
            TARGETS[name](data)
        except Exception as error:
            error.add_note(f"{name} was given {data.hex()}")
            raise


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in ("config", "handshake")])
@given(data=st.binary(max_size=600))
@settings(max_examples=60 * _LONG, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_pass(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {directory.name for directory in CORPUS.iterdir()} == TARGETS.keys()
    for name in TARGETS:
        assert seeds(name), name
        assert max(map(len, seeds(name))) <= LONGEST


def test_the_same_dice_make_the_same_inputs() -> None:
    first, second = (Mutator([b"abc", b"defg"], Random(3)) for _ in range(2))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_a_tape_steers_every_choice() -> None:
    tape = Tape(b"\x05\x01\xff")
    assert tape.randrange(8) == 5
    assert tape.choice("ab") == "b"
    assert tape.randbytes(1) == b"\xff"
    assert tape.over
    assert tape.randrange(1000) == 0
