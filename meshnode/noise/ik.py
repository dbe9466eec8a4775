"""The IK handshake of links (spec 01 section 2.2).

The token called `se` in message 2 repeats the value of `es`, so neither side computes that Diffie-Hellman twice.
"""

from __future__ import annotations

from meshnode.identity import Identity, PeerIdentity

from .handshake import Handshake, check_epoch, identity_of
from .symmetric import POINT_SIZE, TransportKeys, dh, parse_point, public_point

PROTOCOL = b"Noise_IK_secp256k1_ChaChaPoly_SHA256"
MESSAGE1_SIZE = 106
MESSAGE2_SIZE = 57
_STATIC_END = 82


class IkInitiator(Handshake):
    """The dialling side: `message1`, then `read_message2`."""

    __slots__ = ("_ephemeral", "_epoch", "_es", "_static", "remote", "remote_epoch")

    remote: PeerIdentity
    remote_epoch: bytes

    def __init__(self, static: Identity, remote: PeerIdentity, epoch: bytes, ephemeral: bytes) -> None:
        """`ephemeral` is a fresh 32-byte secret; `epoch` our 8-byte startup epoch."""
        super().__init__(PROTOCOL, remote.even_lift, ("message 1", "message 2"))
        self.remote = remote
        self._static = static
        self._epoch = check_epoch(epoch)
        self._ephemeral = ephemeral
        self._es = b""

    def message1(self) -> bytes:
        """Return the 106 bytes that open the handshake; resends repeat these very bytes."""
        state = self._begin("message 1")
        responder = parse_point(self.remote.even_lift)
        point = public_point(self._ephemeral)
        state.mix_hash(point)
        self._es = dh(self._ephemeral, responder)
        state.mix_key(self._es)
        sealed_static = state.encrypt_and_hash(self._static.public_key)
        state.mix_key(dh(self._static.secret, responder))
        sealed_epoch = state.encrypt_and_hash(self._epoch)
        self._commit(state)
        return point + sealed_static + sealed_epoch

    def read_message2(self, message: bytes) -> TransportKeys:
        """Take the answer, set `remote_epoch` and return the keys.

        Raises `NoiseError` for a forged answer and can then still take the real one.
        """
        state = self._begin_read("message 2", message, MESSAGE2_SIZE)
        point = message[:POINT_SIZE]
        state.mix_hash(point)
        state.mix_key(dh(self._ephemeral, parse_point(point)))
        state.mix_key(self._es)
        self.remote_epoch = state.decrypt_and_hash(message[POINT_SIZE:])
        return self._finish(state, initiator=True)


class IkResponder(Handshake):
    """The answering side: `read_message1`, then `write_message2`, after which `keys` are there.

    Reading sets `remote`, `remote_static` (33 bytes, real parity), `remote_epoch` and `remote_ephemeral` (33 bytes).
    """

    __slots__ = ("_epoch", "_es", "_static", "remote", "remote_ephemeral", "remote_epoch", "remote_static")

    remote: PeerIdentity
    remote_static: bytes
    remote_epoch: bytes
    remote_ephemeral: bytes

    def __init__(self, static: Identity, epoch: bytes) -> None:
        super().__init__(PROTOCOL, static.peer.even_lift, ("message 1", "message 2"))
        self._static = static
        self._epoch = check_epoch(epoch)
        self._es = b""

    def read_message1(self, message: bytes) -> None:
        """Take the opening message; raise `NoiseError` when it is not for us or not genuine."""
        state = self._begin_read("message 1", message, MESSAGE1_SIZE)
        point = message[:POINT_SIZE]
        state.mix_hash(point)
        es = dh(self._static.secret, parse_point(point))
        state.mix_key(es)
        remote_static = state.decrypt_and_hash(message[POINT_SIZE:_STATIC_END])
        state.mix_key(dh(self._static.secret, parse_point(remote_static)))
        remote_epoch = state.decrypt_and_hash(message[_STATIC_END:])
        self.remote = identity_of(remote_static)
        self.remote_static, self.remote_epoch, self.remote_ephemeral = remote_static, remote_epoch, point
        self._es = es
        self._commit(state)

    def write_message2(self, ephemeral: bytes) -> bytes:
        """Return the 57-byte answer made with a fresh 32-byte secret."""
        state = self._begin("message 2")
        point = public_point(ephemeral)
        state.mix_hash(point)
        state.mix_key(dh(ephemeral, parse_point(self.remote_ephemeral)))
        state.mix_key(self._es)
        sealed_epoch = state.encrypt_and_hash(self._epoch)
        self._finish(state, initiator=False)
        return point + sealed_epoch
