"""The XK handshake of end-to-end sessions (spec 01 section 2.3)."""

from __future__ import annotations

from meshnode.identity import Identity, PeerIdentity

from .handshake import Handshake, check_epoch, identity_of
from .symmetric import POINT_SIZE, dh, parse_point, public_point

PROTOCOL = b"Noise_XK_secp256k1_ChaChaPoly_SHA256"
MESSAGE1_SIZE = 33
MESSAGE2_SIZE = 57
MESSAGE3_SIZE = 73
_STATIC_END = 49
_STEPS = ("message 1", "message 2", "message 3")


class XkInitiator(Handshake):
    """The opening side: `message1`, `read_message2`, `message3`, after which `keys` are there."""

    __slots__ = ("_ephemeral", "_epoch", "_remote_point", "_static", "remote", "remote_epoch")

    remote: PeerIdentity
    remote_epoch: bytes

    def __init__(self, static: Identity, remote: PeerIdentity, epoch: bytes, ephemeral: bytes) -> None:
        """`ephemeral` is a fresh 32-byte secret; `epoch` our 8-byte startup epoch."""
        super().__init__(PROTOCOL, remote.even_lift, _STEPS)
        self.remote = remote
        self._static = static
        self._epoch = check_epoch(epoch)
        self._ephemeral = ephemeral

    def message1(self) -> bytes:
        """Return the 33 bytes that open the handshake."""
        state = self._begin("message 1")
        point = public_point(self._ephemeral)
        state.mix_hash(point)
        state.mix_key(dh(self._ephemeral, parse_point(self.remote.even_lift)))
        self._commit(state)
        return point

    def read_message2(self, message: bytes) -> None:
        """Take the answer and set `remote_epoch`.

        Raises `NoiseError` for a forged answer and can then still take the real one.
        """
        state = self._begin_read("message 2", message, MESSAGE2_SIZE)
        point = message[:POINT_SIZE]
        remote_point = parse_point(point)
        state.mix_hash(point)
        state.mix_key(dh(self._ephemeral, remote_point))
        self.remote_epoch = state.decrypt_and_hash(message[POINT_SIZE:])
        self._remote_point = remote_point
        self._commit(state)

    def message3(self) -> bytes:
        """Return the 73 bytes that show who we are; the static key goes under the key of message 2 with nonce 1."""
        state = self._begin("message 3")
        sealed_static = state.encrypt_and_hash(self._static.public_key)
        state.mix_key(dh(self._static.secret, self._remote_point))
        sealed_epoch = state.encrypt_and_hash(self._epoch)
        self._finish(state, initiator=True)
        return sealed_static + sealed_epoch


class XkResponder(Handshake):
    """The answering side: `read_message1`, `write_message2`, `read_message3`, after which `keys` are there.

    The last read sets `remote`, `remote_static` (33 bytes, real parity) and `remote_epoch`.
    """

    __slots__ = ("_ephemeral", "_epoch", "_remote_point", "_static", "remote", "remote_epoch", "remote_static")

    remote: PeerIdentity
    remote_static: bytes
    remote_epoch: bytes

    def __init__(self, static: Identity, epoch: bytes) -> None:
        super().__init__(PROTOCOL, static.peer.even_lift, _STEPS)
        self._static = static
        self._epoch = check_epoch(epoch)

    def read_message1(self, message: bytes) -> None:
        """Take the opening message; raise `NoiseError` when its ephemeral key is no point of the curve."""
        state = self._begin_read("message 1", message, MESSAGE1_SIZE)
        self._remote_point = parse_point(message)
        state.mix_hash(message)
        state.mix_key(dh(self._static.secret, self._remote_point))
        self._commit(state)

    def write_message2(self, ephemeral: bytes) -> bytes:
        """Return the 57-byte answer made with a fresh 32-byte secret."""
        state = self._begin("message 2")
        point = public_point(ephemeral)
        state.mix_hash(point)
        state.mix_key(dh(ephemeral, self._remote_point))
        sealed_epoch = state.encrypt_and_hash(self._epoch)
        self._ephemeral = ephemeral
        self._commit(state)
        return point + sealed_epoch

    def read_message3(self, message: bytes) -> None:
        """Take the initiator's identity.

        Raises `NoiseError` for a forged message and can then still take the real one.
        """
        state = self._begin_read("message 3", message, MESSAGE3_SIZE)
        remote_static = state.decrypt_and_hash(message[:_STATIC_END])
        state.mix_key(dh(self._ephemeral, parse_point(remote_static)))
        remote_epoch = state.decrypt_and_hash(message[_STATIC_END:])
        self.remote = identity_of(remote_static)
        self.remote_static, self.remote_epoch = remote_static, remote_epoch
        self._finish(state, initiator=False)
