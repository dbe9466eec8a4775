"""Links between nodes: establishment, crossing dials, rekey, restart, liveness, strangers (spec 01 sections 5-10)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.mesh.link import DialFailed, DialRefused, PeerDown, PeerUp
from meshnode.mesh.settings import LimitSettings, MeshSettings, RekeySettings
from meshnode.noise import NONCE
from meshnode.wire.link import ESTABLISHED, DisconnectReason

from .link_rig import LinkHost, LinkNet

MESSAGE = b"\x99payload"


def pair(**changes: object) -> tuple[LinkNet, LinkHost, LinkHost]:
    """Two hosts, the first with the smaller node address."""
    hosts = sorted(
        (LinkHost("h1", 1, MeshSettings(**changes)), LinkHost("h2", 2, MeshSettings(**changes))),  # type: ignore[arg-type]
        key=lambda host: host.identity.node_addr,
    )
    return LinkNet(*hosts), hosts[0], hosts[1]


def linked(**changes: object) -> tuple[LinkNet, LinkHost, LinkHost]:
    net, small, large = pair(**changes)
    net.dial(small, large)
    net.settle()
    net.run(1.0)
    return net, small, large


def exchange(net: LinkNet, a: LinkHost, b: LinkHost) -> None:
    """Assert that a message passes in both directions."""
    for source, target in ((a, b), (b, a)):
        target.received.clear()
        source.layer.send(source.peer(target), MESSAGE, net.now)
        net.settle()
        assert MESSAGE in target.received, f"{source.name} -> {target.name}"


def test_a_dial_makes_both_sides_peers() -> None:
    net, small, large = linked()
    assert small.names() == ["PeerUp"]
    assert large.names() == ["PeerUp"]
    assert not small.peer(large).inbound
    assert large.peer(small).inbound
    exchange(net, small, large)


def test_the_first_message_is_resent_byte_for_byte() -> None:
    net, small, large = pair()
    net.wire = lambda *_: []
    net.dial(small, large)
    net.run(16)
    frames = {frame for _, _, frame in net.log}
    assert len(frames) == 1
    assert 5 < len(net.log) < 30


def test_a_lost_answer_is_repeated_without_a_new_handshake() -> None:
    net, small, large = pair()
    lost: list[bytes] = []

    def drop_first_answer(source: str, target: str, frame: bytes) -> list[bytes]:
        if frame[0] == 2 and not lost:
            lost.append(frame)
            return []
        return [frame]

    net.wire = drop_first_answer
    net.dial(small, large)
    net.run(2)
    answers = {frame for _, _, frame in net.log if frame[0] == 2}
    assert answers == set(lost)
    exchange(net, small, large)


def test_an_answer_from_another_address_than_was_dialled_is_taken() -> None:
    """As from behind a translator, or from a host with several addresses: only its contents count."""
    net, small, large = pair()
    net.wire = lambda source, target, frame: [] if frame[0] == 2 else [frame]
    net.dial(small, large)
    net.settle()
    (answer,) = {frame for _, _, frame in net.log if frame[0] == 2}
    net.wire = lambda source, target, frame: [frame]
    net.inject("elsewhere", small, answer)
    net.hosts["elsewhere"] = large
    net.settle()
    assert small.names() == ["PeerUp"]
    exchange(net, small, large)


def test_an_unanswered_dial_fails_after_its_timeout() -> None:
    net, small, large = pair()
    net.wire = lambda *_: []
    net.dial(small, large)
    net.run(29)
    assert small.events == []
    net.run(3)
    (event,) = small.events
    assert isinstance(event, DialFailed)
    assert small.layer.handshakes == []


def test_a_forged_answer_does_not_end_the_dial() -> None:
    net, small, large = pair()
    net.wire = lambda source, target, frame: [frame[:60] + bytes(9), frame] if frame[0] == 2 else [frame]
    net.dial(small, large)
    net.settle()
    assert small.names() == ["PeerUp"]
    assert small.layer.counters.bad_state == 1


@pytest.mark.parametrize("first", ["small", "large", "both"])
def test_crossing_dials_end_in_one_working_link(first: str) -> None:
    net, small, large = pair()
    held: list[tuple[str, str, bytes]] = []

    def hold(source: str, target: str, frame: bytes) -> list[bytes]:
        late = {"small": large.name, "large": small.name}.get(first)
        if source == late and frame[0] == 1 and not held:
            held.append((source, target, frame))
            return []
        return [frame]

    net.wire = hold
    net.dial(small, large)
    net.dial(large, small)
    net.settle()
    for source, target, frame in held:
        net.inject(source, net.hosts[target], frame)
    net.run(3)
    exchange(net, small, large)
    net.run(15)
    exchange(net, small, large)
    assert small.names().count("PeerUp") == large.names().count("PeerUp") == 1
    assert "PeerDown" not in small.names() + large.names()
    assert small.peer(large).current.their_index == int.from_bytes(large.peer(small).current.our_index, "little")


def test_the_crossing_dial_of_the_smaller_address_survives() -> None:
    net, small, large = pair()
    net.dial(small, large)
    net.dial(large, small)
    net.run(3)
    assert small.peer(large).current.initiator
    assert not large.peer(small).current.initiator
    assert small.peer(large).k_bit == large.peer(small).k_bit == 0


def test_a_late_crossing_dial_of_the_smaller_address_is_not_answered() -> None:
    """It would move to a session of its own without a word, and lose what we send until it speaks."""
    net, small, large = pair()
    small.layer.dial(large.identity.peer, (1, large.name), net.now)
    ((_, late),) = small.layer.drain_outbound()
    net.dial(large, small)
    net.settle()
    net.inject(small.name, large, late)
    assert [frame for _, frame in large.layer.drain_outbound() if frame[0] == 2] == []
    exchange(net, small, large)


def test_an_old_first_message_of_the_peer_cannot_keep_a_fresh_dial_from_working() -> None:
    net, small, large = pair()
    small.layer.dial(large.identity.peer, (1, large.name), net.now)
    ((_, recorded),) = small.layer.drain_outbound()
    for handshake in small.layer.handshakes:
        small.layer._initiator.forget(handshake)
    net.inject("attacker", large, recorded)
    net.dial(large, small)
    net.run(5)
    exchange(net, small, large)
    net.run(20)
    exchange(net, small, large)
    assert "PeerDown" not in small.names() + large.names()


@pytest.mark.parametrize("dialler", [0, 1], ids=["the smaller address dialled", "the larger address dialled"])
@pytest.mark.parametrize("silent", [0, 1], ids=["the smaller one is silent", "the larger one is silent"])
def test_probing_a_young_link_leaves_both_ends_with_keys_of_one_kind(dialler: int, silent: int) -> None:
    """A first message on a young link is taken for a crossing dial by whoever dialled it, and for a rekey by no one."""
    net, *hosts = pair()
    net.dial(hosts[dialler], hosts[1 - dialler])
    net.run(4)
    mute = hosts[silent].name
    net.wire = lambda source, target, frame: [] if source == mute and frame[0] == 0 else [frame]
    net.run(3)
    net.wire = lambda source, target, frame: [frame]
    net.run(15)
    for _ in range(20):
        net.run(1)
        exchange(net, *hosts)
    assert all("PeerDown" not in host.names() for host in hosts)
    assert [host.layer.counters.unknown_index for host in hosts] == [0, 0]


def assert_one_way_of_counting(net: LinkNet, a: LinkHost, b: LinkHost) -> None:
    """Both ends use the same keys and K bit, and their inner clocks began together."""
    ours, theirs = a.peer(b), b.peer(a)
    assert int.from_bytes(ours.current.our_index, "little") == theirs.current.their_index
    assert ours.k_bit == theirs.k_bit
    assert abs(ours.timestamp(net.now) - theirs.timestamp(net.now)) <= 250


@pytest.mark.parametrize("dialler", [0, 1], ids=["the smaller address dialled", "the larger address dialled"])
@pytest.mark.parametrize("asks", [0, 1], ids=["the smaller one asks", "the larger one asks"])
def test_whoever_is_asked_for_keys_follows_whoever_asks_however_old_they_take_the_link_to_be(
    asks: int, dialler: int
) -> None:
    """Asked before the thirtieth second and answered after it: a crossing dial by one clock, and none by the other."""
    net, *hosts = pair(rekey=RekeySettings(enabled=False))
    net.dial(hosts[dialler], hosts[1 - dialler])
    net.run(28)
    asking, asked = hosts[asks], hosts[1 - asks]
    net.wire = lambda source, target, frame: [] if frame[0] == 1 else [frame]
    asking.layer._initiator.rekey(asking.peer(asked), net.now)
    net.run(2.5)
    net.wire = lambda source, target, frame: [frame]
    for _ in range(20):
        net.run(1)
        exchange(net, *hosts)
    assert asking.peer(asked).rekeys == asked.peer(asking).rekeys == 1
    assert_one_way_of_counting(net, *hosts)
    assert [host.layer.counters.unknown_index for host in hosts] == [0, 0]


def test_a_dial_that_is_answered_after_the_keys_were_renewed_changes_nothing() -> None:
    """The peer, which got our first message and no frame, asked for other keys, and forgets those of its answer."""
    net, small, large = pair(rekey=RekeySettings(enabled=False))
    held: list[bytes] = []

    def hold_answers(source: str, target: str, frame: bytes) -> list[bytes]:
        if source == large.name and frame[0] == 2:
            held.append(frame)
            return []
        return [frame]

    net.wire = hold_answers
    net.dial(small, large)
    net.dial(large, small)
    net.run(11)
    assert large.peer(small).rekeys
    net.inject(large.name, small, held[0])
    for _ in range(20):
        net.run(1)
        exchange(net, small, large)
    assert_one_way_of_counting(net, small, large)


def test_who_meets_a_peer_anew_takes_its_k_bit_over() -> None:
    """The one that did not forget the other takes it for a renewal; a reference would be lost with the next one."""
    net, small, large = linked()
    net.run(35)
    large.layer._table.remove(large.peer(small), "forgotten", redial=False)
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.run(2)
    assert small.peer(large).k_bit == large.peer(small).k_bit == 1
    assert_one_way_of_counting(net, small, large)
    small.layer._table.remove(small.peer(large), "forgotten", redial=False)
    net.dial(small, large)
    net.run(2)
    assert_one_way_of_counting(net, small, large)
    exchange(net, small, large)


def test_a_replayed_first_message_makes_no_peer() -> None:
    net, small, large = pair()
    net.dial(small, large)
    ((_, frame),) = small.layer.drain_outbound()
    net.inject("attacker", large, frame)
    net.settle()
    assert large.layer.peers == {}
    assert large.events == []
    net.run(32)
    assert large.layer.candidates == []


def test_a_replayed_first_message_does_not_disturb_a_live_link() -> None:
    net, small, large = linked()
    (recorded,) = [frame for _, _, frame in net.log if frame[0] == 1]
    net.run(60)
    net.inject("attacker", large, recorded)
    net.run(5)
    assert large.peer(small).path == (1, small.name)
    assert large.peer(small).k_bit == 0
    exchange(net, small, large)


def test_a_first_message_is_answered_for_as_long_as_it_is_new_and_never_again() -> None:
    """A replay of one that came to nothing costs neither a public-key operation nor an answer (spec 01, 18.2)."""
    net, small, large = pair()
    net.dial(small, large)
    ((_, frame),) = small.layer.drain_outbound()
    for _ in range(2):
        net.inject("attacker", large, frame)
        assert len(large.layer.drain_outbound()) == 1
    large.layer.tick(40.0)
    for now in (40.0, 4000.0):
        large.layer.receive(1, "attacker", [frame], now)
        assert large.layer.drain_outbound() == []
    assert large.layer.counters.replayed_handshake == 2
    assert large.layer.candidates == []


def test_frames_whose_length_is_not_the_one_they_tell_are_dropped() -> None:
    """Not even a first message is then looked into (spec 01, 5.1)."""
    net, small, large = linked()
    small.layer.dial(LinkHost("other", 9).identity.peer, (1, "other"), net.now)
    ((_, first),) = small.layer.drain_outbound()
    net.inject("stranger", large, first[:2] + b"\x6f" + first[3:])
    assert large.layer.counters.payload_len_mismatch == 1
    assert large.layer.counters.wrong_key == 0


def test_a_frame_without_a_whole_inner_header_only_uses_up_its_counter() -> None:
    net, small, large = linked()
    peer = small.peer(large)
    heard = large.peer(small).last_heard
    epoch = peer.current
    header = ESTABLISHED.pack(0, 0, 4, epoch.their_index, epoch.send_counter)
    frame = header + epoch.encrypt(NONCE.pack(epoch.send_counter), bytes(4), header)
    net.now += 1
    for _ in range(2):
        assert large.layer.receive(1, "elsewhere", [frame], net.now) == []
    assert large.peer(small).last_heard == heard
    assert large.peer(small).path == (1, small.name)
    assert (large.layer.counters.malformed, large.layer.counters.replayed) == (1, 1)


def test_where_no_index_is_free_nothing_begins() -> None:
    net, small, large = linked()
    (taken,) = small.layer._table.epochs
    small.layer._table.entropy = lambda size: (taken * 8)[:size]
    net.run(40)
    with pytest.raises(DialRefused):
        net.dial(small, LinkHost("other", 9))
    small.layer._initiator.rekey(small.peer(large), net.now)
    large.layer._initiator.rekey(large.peer(small), net.now)
    net.run(3)
    assert small.peer(large).rekeys == large.peer(small).rekeys == 0
    exchange(net, small, large)


def test_room_that_was_there_for_the_answer_and_is_not_for_the_proof_makes_no_peer() -> None:
    """Two strangers are answered while there is one place."""
    target = LinkHost("target", 1, MeshSettings(limits=LimitSettings(max_peers=1)))
    strangers = [LinkHost(f"stranger {number}", 20 + number) for number in range(2)]
    net = LinkNet(target, *strangers)
    held: list[tuple[str, bytes]] = []

    def hold_proofs(source: str, to: str, frame: bytes) -> list[bytes]:
        if not frame[0]:
            held.append((source, frame))
        return [frame] if frame[0] else []

    net.wire = hold_proofs
    for stranger in strangers:
        net.dial(stranger, target)
    net.settle()
    assert len(target.layer.candidates) == 2
    for source, frame in held:
        net.inject(source, target, frame)
    assert len(target.layer.peers) == 1
    assert target.layer.counters.no_room == 1


def test_no_link_is_renewed_before_its_thirtieth_second_nor_after_a_renewal_of_the_peer() -> None:
    """It would be taken for a crossing dial, or get no answer (spec 01, 8.1)."""
    net, small, large = linked(rekey=RekeySettings(after_secs=1, after_messages=1))
    small.peer(large).leads_renewals = True
    net.run(28)
    assert small.peer(large).rekeys == 0
    net.run(3)
    assert small.peer(large).rekeys == 1
    large.peer(small).leads_renewals = True
    large.peer(small).established_at -= 1000
    net.run(26)
    assert small.peer(large).rekeys == 1


@pytest.mark.parametrize("both", [False, True], ids=["one restarted", "both restarted"])
def test_what_was_recorded_in_an_earlier_life_does_not_disturb_a_link_of_this_one(both: bool) -> None:
    """Spec 01 section 18.2: the epoch is another one, and whoever restarted knows of no keys it answered before."""
    net, small, large = linked(rekey=RekeySettings(after_secs=1000))
    net.run(60)
    recorded = [(target, frame) for _, target, frame in net.log]
    for seed, host in enumerate([small, large][: 1 + both], 77):
        net.hosts[host.name] = LinkHost(host.name, seed, host.settings, host.identity)
    small, large = net.hosts[small.name], net.hosts[large.name]
    net.dial(small, large)
    net.settle()
    net.run(60)
    epochs = small.peer(large).current, large.peer(small).current
    for source in ("attacker", small.name):
        for target, frame in recorded:
            net.inject(source, net.hosts[target], frame)
        net.run(20)
        exchange(net, small, large)
    net.run(40)
    assert (small.peer(large).current, large.peer(small).current) == epochs
    assert (small.peer(large).path[1], large.peer(small).path[1]) == (large.name, small.name)
    assert "PeerDown" not in small.names()
    assert large.layer.candidates == []
    exchange(net, small, large)


def test_a_restarted_peer_is_recognised_by_its_epoch() -> None:
    net, small, large = linked()
    reborn = LinkHost(small.name, 77, identity=small.identity)
    net.hosts[small.name] = reborn
    net.dial(reborn, large)
    net.settle()
    assert large.names() == ["PeerUp", "PeerDown", "PeerUp"]
    exchange(net, reborn, large)


@pytest.mark.parametrize("epoch", [bytes(8), b"\xff" * 8], ids=["a smaller epoch", "a larger epoch"])
@pytest.mark.parametrize("reborn_asks", [True, False], ids=["it asks", "it is asked"])
def test_any_other_epoch_is_a_restart(reborn_asks: bool, epoch: bytes) -> None:
    """It is drawn by chance: no number, and no time (spec 01 section 17)."""
    net, small, large = linked()
    reborn = LinkHost(small.name, 77, identity=small.identity)
    reborn.layer._table.startup_epoch = epoch
    net.hosts[small.name] = reborn
    if reborn_asks:
        net.dial(reborn, large)
    else:
        large.layer._initiator.rekey(large.peer(small), net.now)
    net.settle()
    assert large.names() == ["PeerUp", "PeerDown", "PeerUp"]
    assert large.peer(reborn).remote_epoch == epoch
    exchange(net, reborn, large)


def test_a_restarted_listener_is_found_by_the_dialler_within_five_seconds() -> None:
    net, small, large = linked()
    net.run(20)
    reborn = LinkHost(large.name, 78, identity=large.identity)
    net.hosts[large.name] = reborn
    net.run(5)
    assert small.names() == ["PeerUp", "PeerDown", "PeerUp"]
    exchange(net, small, reborn)


def test_a_listener_that_stays_away_longer_is_still_found_soon_after() -> None:
    net, small, large = linked()
    net.run(20)
    del net.hosts[large.name]
    net.run(18)
    reborn = LinkHost(large.name, 78, identity=large.identity)
    net.hosts[large.name] = reborn
    net.run(3)
    exchange(net, small, reborn)


def test_a_silent_peer_is_declared_dead() -> None:
    net, small, _ = linked()
    net.wire = lambda *_: []
    net.run(29)
    assert small.names() == ["PeerUp"]
    net.run(3)
    assert small.names() == ["PeerUp", "PeerDown"]
    assert small.layer.peers == {}


def test_an_idle_link_stays_up() -> None:
    net, small, large = linked()
    net.run(300)
    assert small.names().count("PeerUp") == 1
    assert "PeerDown" not in small.names() + large.names()
    exchange(net, small, large)


def test_a_peer_that_answers_handshakes_and_says_nothing_is_no_peer_for_long() -> None:
    """As a release before 0.4 that has no room: it answers, also each probe of ours, and forgets us (section 7.1)."""
    net, small, large = pair()
    net.wire = lambda source, target, frame: [frame] if source == small.name or frame[0] == 2 else []
    net.dial(small, large)
    net.run(17)
    assert small.peer(large).distrusted
    net.run(14)
    (_, down) = small.events
    assert isinstance(down, PeerDown)
    assert down.redial


def test_a_peer_that_goes_on_answering_handshakes_and_nothing_else_is_declared_dead_in_the_end() -> None:
    net, small, _ = linked()
    net.run(40)
    net.wire = lambda source, target, frame: [frame] if source == small.name or frame[0] == 2 else []
    net.run(58)
    assert small.names() == ["PeerUp"]
    net.run(34)
    assert small.names() == ["PeerUp", "PeerDown"]


def test_disconnect_removes_the_peer_on_both_sides() -> None:
    net, small, large = linked()
    small.layer.disconnect(small.peer(large), DisconnectReason.CONFIGURATION_CHANGE, net.now)
    net.settle()
    assert small.layer.peers == large.layer.peers == {}
    (down,) = [event for event in large.events if isinstance(event, PeerDown)]
    assert down.redial
    (down,) = [event for event in small.events if isinstance(event, PeerDown)]
    assert not down.redial


@pytest.mark.parametrize("initiator", ["small", "large"])
def test_a_rekey_changes_keys_and_toggles_k(initiator: str) -> None:
    net, small, large = linked()
    one, other = (small, large) if initiator == "small" else (large, small)
    net.run(40)
    before = one.peer(other).current
    one.layer._initiator.rekey(one.peer(other), net.now)
    net.settle()
    assert one.peer(other).current is not before
    assert one.peer(other).k_bit == other.peer(one).k_bit == 1
    exchange(net, small, large)
    net.run(12)
    assert one.peer(other).draining == other.peer(one).draining == []
    exchange(net, small, large)


def test_the_clock_of_inner_headers_restarts_with_new_link_keys() -> None:
    net, small, large = linked()
    net.run(40)
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.settle()
    net.run(1)
    assert small.peer(large).timestamp(net.now) == large.peer(small).timestamp(net.now) == 1000


def test_a_rekey_that_ends_early_frees_its_index_at_once() -> None:
    """Given up for the peer's, or with the peer itself: an answer to it fits nothing any more."""
    net, small, large = linked()
    net.run(40)
    for one, other in ((small, large), (large, small)):
        one.layer._initiator.rekey(one.peer(other), net.now)
    net.settle()
    assert small.layer._table.handshakes == large.layer._table.handshakes == {}
    net.run(40)
    small.layer._initiator.rekey(small.peer(large), net.now)
    small.layer.disconnect(small.peer(large), DisconnectReason.SHUTDOWN, net.now)
    assert small.layer._table.handshakes == {}
    assert small.layer._table.epochs == {}


def test_frames_of_the_old_epoch_are_opened_while_it_drains() -> None:
    net, small, large = linked()
    net.run(40)
    (late,) = small.layer.seal(small.peer(large), b"", [MESSAGE], 0, 0, net.now)
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.settle()
    large.received.clear()
    net.inject(small.name, large, late)
    assert MESSAGE in large.received


def test_two_rekeys_at_once_end_in_one() -> None:
    net, small, large = linked()
    net.run(40)
    small.layer._initiator.rekey(small.peer(large), net.now)
    large.layer._initiator.rekey(large.peer(small), net.now)
    net.settle()
    assert small.peer(large).k_bit == large.peer(small).k_bit == 1
    assert small.peer(large).rekey is large.peer(small).rekey is None
    exchange(net, small, large)


@pytest.mark.parametrize("phase", [1, 2])
def test_a_lost_rekey_message_does_not_interrupt_the_link(phase: int) -> None:
    net, small, large = linked()
    net.run(40)
    lost: list[bytes] = []

    def drop_once(source: str, target: str, frame: bytes) -> list[bytes]:
        if frame[0] == phase and not lost:
            lost.append(frame)
            return []
        return [frame]

    net.wire = drop_once
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.settle()
    exchange(net, small, large)
    net.run(4)
    assert lost
    assert small.peer(large).k_bit == large.peer(small).k_bit == 1
    exchange(net, small, large)
    assert "PeerDown" not in small.names() + large.names()


def test_rekeys_happen_by_age() -> None:
    """The first one late, since it might have been the peer that renews; then one side leads."""
    net, small, large = linked(rekey=RekeySettings(after_secs=60, after_messages=1 << 40))
    net.run(60 + 45 - 15 - 2)
    assert small.peer(large).rekeys == 0
    net.run(60 + 45 + 15 - net.now + 3)
    assert small.peer(large).rekeys == 1
    net.run(60 + 15 + 3)
    assert small.peer(large).rekeys == 2
    leading = [host.peer(other).leads_renewals for host, other in ((small, large), (large, small))]
    assert sorted(leading) == [False, True]
    exchange(net, small, large)


def test_rekeys_happen_by_message_count() -> None:
    net, small, large = linked(rekey=RekeySettings(after_secs=1 << 40, after_messages=1000))

    def renewed_after(seconds: float, messages: int) -> int:
        before = small.peer(large).rekeys
        for _ in range(messages):
            small.layer.send(small.peer(large), MESSAGE, net.now)
        net.run(seconds)
        return small.peer(large).rekeys - before

    assert renewed_after(120 + 45 - 15 - 2, 1000) == 0
    assert renewed_after(2 + 15 + 15 + 1, 0) == 1
    assert renewed_after(60, 0) == 0
    assert renewed_after(2, 1000) == 1
    exchange(net, small, large)


def test_a_peer_that_renews_by_itself_is_left_to_it() -> None:
    net, small, large = linked(rekey=RekeySettings(after_secs=60, after_messages=50))
    for _ in range(4):
        net.run(50)
        small.layer._initiator.rekey(small.peer(large), net.now)
        net.settle()
    assert large.peer(small).rekeys == 4
    assert not large.peer(small).leads_renewals
    assert not any(frame[0] == 1 for source, _, frame in net.log if source == large.name)


def test_a_peer_that_already_uses_new_keys_is_met_again_when_its_answer_is_lost() -> None:
    """A v0.4 responder cuts over on its own; when its answer is lost for good we start over (section 18.1)."""
    net, small, large = linked()
    net.run(40)
    net.wire = lambda source, target, frame: [] if frame[0] == 2 else [frame]
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.settle()
    (candidate,) = large.layer.candidates
    large.layer._table.candidates.take(candidate)
    large.layer._table.cut_over(large.peer(small), candidate.epoch, net.now)
    large.layer.send(large.peer(small), MESSAGE, net.now)
    net.settle()
    net.wire = lambda source, target, frame: [frame]
    net.run(3)
    exchange(net, small, large)


def test_a_made_up_frame_for_a_rekey_without_answer_ends_no_link_that_works() -> None:
    """Whoever saw the first message knows its index."""
    net, small, large = linked()
    net.run(40)
    net.wire = lambda source, target, frame: [] if frame[0] else [frame]
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.settle()
    (handshake,) = small.layer._table.handshakes.values()
    for _ in range(40):
        net.inject("attacker", small, bytes(4) + handshake.index + bytes(40))
        large.layer.send(large.peer(small), MESSAGE, net.now)
        net.run(0.25)
    assert "PeerDown" not in small.names() + large.names()


def test_a_carrier_that_takes_no_strangers_takes_the_renewals_of_peers() -> None:
    """As UDP that only dials (spec 04 section 15): who never was admitted there is not answered."""
    net, small, large = linked()
    large.layer._responder._accepts = lambda _transport: False
    net.run(40)
    before = small.peer(large).current
    small.layer._initiator.rekey(small.peer(large), net.now)
    net.run(3)
    assert small.peer(large).current is not before
    exchange(net, small, large)
    stranger = net.hosts["stranger"] = LinkHost("stranger", 9)
    net.dial(stranger, large)
    net.run(3)
    assert list(large.layer.peers) == [small.identity.node_addr]
    assert list(stranger.layer.peers) == []


def test_a_stranger_at_the_address_of_a_peer_is_a_stranger_all_the_same() -> None:
    """What is waived for peers rests on an address, which anybody can forge (spec 01 section 10.2)."""
    net, small, large = linked()
    large.layer._responder._accepts = lambda _transport: False
    stranger = LinkHost("stranger", 9)
    stranger.layer.dial(large.identity.peer, (1, large.name), net.now)
    ((_, frame),) = stranger.layer.drain_outbound()
    net.inject(small.name, large, frame)
    assert large.layer.drain_outbound() == []
    assert large.layer.candidates == []
    exchange(net, small, large)


def test_the_source_of_an_authentic_frame_becomes_the_address() -> None:
    net, small, large = linked()
    (frame,) = small.layer.seal(small.peer(large), b"", [MESSAGE], 0, 0, net.now)
    net.inject("elsewhere", large, frame)
    assert large.peer(small).path == (1, "elsewhere")
    net.inject("nowhere", large, frame)
    assert large.peer(small).path == (1, "elsewhere"), "a replay moves nobody"


def test_our_own_identity_is_neither_dialled_nor_answered() -> None:
    net, small, _ = pair()
    with pytest.raises(DialRefused):
        net.dial(small, small)
    mirror = LinkHost("mirror", 5)
    mirror.layer.dial(small.identity.peer, (1, small.name), 0.0)
    twin = LinkHost("twin", 6, identity=small.identity)
    twin.layer._initiator._begin(small.identity.peer, (1, small.name), None, 0.0)
    ((_, frame),) = twin.layer.drain_outbound()
    net.inject("twin", small, frame)
    assert small.layer.drain_outbound() == []
    assert small.layer.counters.own_identity == 1


def test_a_full_node_admits_no_stranger_but_keeps_its_peers() -> None:
    net, small, large = linked(limits=LimitSettings(max_peers=1))
    stranger = LinkHost("stranger", 9)
    net.hosts["stranger"] = stranger
    net.dial(stranger, large)
    net.run(3)
    assert stranger.layer.peers == {}
    exchange(net, small, large)


def test_a_limit_of_nought_is_no_limit() -> None:
    net, small, large = linked(limits=LimitSettings(max_peers=0, max_links=0, max_connections=0))
    others = [LinkHost(f"other {number}", 20 + number) for number in range(5)]
    for other in others:
        net.hosts[other.name] = other
        net.dial(large, other)
        net.settle()
    assert len(large.layer.peers) == 1 + len(others)
    exchange(net, small, large)


def test_candidates_are_bounded() -> None:
    settings_ = MeshSettings(limits=LimitSettings(max_pending_inbound=8))
    settings_.rate_limit.handshake_burst = 1000
    target = LinkHost("target", 1, settings_)
    for seed in range(40):
        dialler = LinkHost(f"d{seed}", 100 + seed)
        dialler.layer.dial(target.identity.peer, (1, "target"), 0.0)
        ((_, frame),) = dialler.layer.drain_outbound()
        target.layer.receive(1, dialler.name, [frame], 0.0)
    assert len(target.layer.candidates) == 8
    assert len(target.layer._table.epochs) == 8


def test_peer_up_events_carry_the_peer() -> None:
    _, small, large = linked()
    (event,) = small.events
    assert isinstance(event, PeerUp)
    assert event.peer is small.peer(large)


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_bytes_from_the_network_are_counted_not_raised(frames: list[bytes]) -> None:
    net, small, large = _SHARED
    small.layer.receive(1, "stranger", frames, net.now)
    small.layer.receive(1, large.name, frames, net.now)
    small.layer.drain_outbound()


@given(st.integers(0, 255), st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_any_link_message_from_a_peer_is_survived(message_type: int, body: bytes) -> None:
    if message_type == 0x50:
        return
    net, small, large = _SHARED
    small.layer.message(small.peer(large), message_type, body, net.now)


_SHARED = linked()
