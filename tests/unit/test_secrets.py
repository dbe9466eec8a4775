"""A node lives through everything that makes it talk, at the most talkative level, and gives no secret away."""

from __future__ import annotations

import ast
import gc
import json
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar
from weakref import WeakSet

import pytest

import meshnode
from meshnode.config.errors import ConfigError
from meshnode.config.load import parse
from meshnode.config.validate import advice, validate
from meshnode.control.encoding import success
from meshnode.control.state import QUERIES, NodeState
from meshnode.control.status import Daemon
from meshnode.identity import Identity, IdentityError
from meshnode.mesh.settings import MeshSettings, RekeySettings
from meshnode.node.peering import PeerAddress, PeerConfig
from meshnode.noise import cipher
from tests.rigs.secrets import forms, found_in
from tests.unit.node_rig import MeshHost, MeshNet


class Life:
    """Three nodes in a row that talk, rekey, are disturbed, part and meet again; with all keys they ever used."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.net = MeshNet(MeshSettings(rekey=RekeySettings(after_secs=31)))
        self.hosts = [self.net.host(name) for name in "abc"]
        self.keys: set[bytes] = {host.identity.secret for host in self.hosts}
        self.text: list[str] = []
        self.aead = cipher.LIBRARY.aead
        patch.setattr(cipher, "LIBRARY", replace(cipher.LIBRARY, aead=self._note_key))
        a, b, c = self.hosts
        c.start()
        b.start(c)
        a.start(b)
        a.knows(c)
        for second in range(80):
            self._second(a, c, second)
        a.node.connect(PeerConfig(c.identity.peer, [PeerAddress("memory", "c"), PeerAddress("memory", "nowhere")]))
        b.node.stop()
        self.net.run(40, step=0.5)
        self._listen()

    def _note_key(self, key: bytes) -> cipher.Aead:
        self.keys.add(key)
        return self.aead(key)

    def _second(self, a: MeshHost, c: MeshHost, second: int) -> None:
        a.send(c, b"x" * 100)
        c.send(a, b"y" * 100)
        noise = Random(second).randbytes
        for length in (0, 3, 40, 114, 500):
            a.node.frames_received(a.transport, "stranger", [bytes((second % 4, 0)) + noise(length)])
        self.net.run(1, step=0.25)
        if second % 4 == 0:
            self._listen()

    def _listen(self) -> None:
        """Collect everything that is said: log, events, answers, and how objects represent themselves."""
        for thing in gc.get_objects():
            if str(type(thing).__module__).startswith("meshnode."):
                self.text.append(repr(thing))
        for host in self.hosts:
            self.text += [text for _level, text in host.log]
            self.text += [json.dumps(record.as_dict()) for record in host.node.events.since(0)]
            state = NodeState(host.node, Daemon("/run/x", True, ("memory",), lambda: ("-", "disabled")), self.net.clock)
            for command in [*QUERIES, "show_status"]:
                answer: Any = state.answer(command, None)
                self.text.append(b"".join(success(answer)).decode())
        self.text = list(dict.fromkeys(self.text))


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with pytest.MonkeyPatch.context() as patch:
        yield Life(patch)


def test_the_life_was_full_enough_to_say_something(life: Life) -> None:
    text = "\n".join(life.text)
    assert len(life.keys) > 12
    kinds = {record.event.KIND for host in life.hosts for record in host.node.events.since(0)}
    assert {"peer_up", "peer_down", "rekey", "session_up", "dial_failed", "parent_changed"} <= kinds
    assert len(text) > 100_000
    assert "<LinkEpoch" in text


def test_no_secret_shows_in_log_events_answers_or_representations(life: Life) -> None:
    text = "\n".join(life.text)
    assert found_in(text, sorted(life.keys)) == []


class Kept:
    """An AEAD that can be looked for: whoever holds it could still open what was recorded."""

    alive: ClassVar[WeakSet[Kept]] = WeakSet()

    def __init__(self, key: bytes) -> None:
        self._aead = cipher.LIBRARY.aead(key)
        self.alive.add(self)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        return self._aead.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        return self._aead.decrypt(nonce, data, associated_data)


def test_keys_that_were_replaced_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets at our memory later opens nothing that was said before: two keys are left at each end of each."""
    for module in ("meshnode.noise.symmetric", "meshnode.mesh.link.epoch", "meshnode.mesh.session.epoch"):
        monkeypatch.setattr(f"{module}.aead", Kept)
    net = MeshNet(MeshSettings(rekey=RekeySettings(after_secs=31)))
    a, b = net.host("a"), net.host("b")
    b.start()
    a.start(b)
    a.knows(b)
    for _ in range(150):
        a.send(b, b"x")
        net.run(1, step=0.25)
    assert a.node.links.peers[b.identity.node_addr].rekeys >= 2
    gc.collect()
    ends_of_links, ends_of_sessions = 2, 2
    assert len(Kept.alive) == 2 * (ends_of_links + ends_of_sessions)


def test_the_search_finds_what_it_looks_for() -> None:
    secret = Random(1).randbytes(32)
    for form, shape in forms(secret).items():
        assert found_in(f"before {shape} after", [secret]), form
    assert found_in(f"{secret!r}", [secret])


SECRET = Identity.parse("7c" * 31 + "7d")


@pytest.mark.parametrize(
    "text",
    [
        f"node: {{identity: {{nsec: {SECRET.nsec}x}}}}",
        f"node: {{identity: {{nsec: [{SECRET.nsec}]}}}}",
        f"node: {{identity: {{nsec: {{a: {SECRET.nsec}}}}}}}",
        f"node: {{identity: {{nsce: {SECRET.nsec}}}}}",
        f"node: {{identity: {SECRET.nsec}}}",
        f"{SECRET.nsec}: 1",
        f"peers: [{{npub: {SECRET.nsec}, addresses: [{{transport: udp, addr: '192.0.2.1:1'}}]}}]",
        f"peers: [{{npub: {SECRET.nsec}}}]",
        f"peers: {SECRET.nsec}",
        f"transports: {{udp: {{bind_addr: 1, mtu: {SECRET.nsec}}}}}",
        f"tun: {{enabled: {SECRET.nsec}}}",
        f"node: {{log_level: {SECRET.secret.hex()}}}\ntun: {{mtu: {SECRET.nsec}}}",
    ],
)
def test_a_secret_in_a_wrong_place_of_the_file_is_not_repeated(text: str) -> None:
    said = ""
    try:
        config, warnings = parse(text)
        said = f"{warnings} {config!r} {advice(config)}"
        validate(config)
    except ConfigError as error:
        said += "".join(traceback.format_exception(error))
    assert found_in(said, [SECRET.secret]) == []


@pytest.mark.parametrize(
    "text", [f"{SECRET.nsec}x", SECRET.nsec[:-1], SECRET.nsec.upper(), f"{SECRET.secret.hex()}0", f" {SECRET.nsec}"]
)
def test_a_damaged_key_is_refused_without_being_repeated(text: str) -> None:
    try:
        Identity.parse(text)
    except IdentityError as error:
        said = "".join(traceback.format_exception(error))
        assert text.strip().lower() not in said.lower()


def test_an_identity_can_be_neither_shown_nor_copied_by_accident() -> None:
    import copy
    import pickle

    assert found_in(f"{SECRET!r} {SECRET} {[SECRET]}", [SECRET.secret]) == []
    for careless in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            careless(SECRET)
    logging.getLogger("meshnode.test").warning("%s %r", SECRET, SECRET)


def test_secrets_are_compared_in_constant_time() -> None:
    """No `==` on what somebody could guess byte by byte from how long an answer takes; tags are the libraries' work."""
    guessable = re.compile(r"(secret|password|cookie|nsec|_token)$")
    found = []
    for file in sorted(Path(meshnode.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                names = [getattr(side, "attr", getattr(side, "id", "")) for side in (node.left, *node.comparators)]
                found += [f"{file.name}:{node.lineno}" for name in names if guessable.search(name)]
    assert found == []
