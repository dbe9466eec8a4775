"""What the two handshake patterns share: the order of steps, lengths, and all-or-nothing reads."""

from __future__ import annotations

from meshnode.identity import IdentityError, PeerIdentity

from .errors import NoiseError
from .symmetric import EPOCH_SIZE, SymmetricState, TransportKeys


class Handshake:
    """One run of a pattern. Each step is taken once and in order.

    A read works on a copy of the symmetric state and keeps it only when the whole message was good, so a forged or
    damaged message leaves the handshake where it was. `symmetric` is the state after the last good step.
    """

    __slots__ = ("_keys", "_steps", "symmetric")

    def __init__(self, protocol_name: bytes, responder_lift: bytes, steps: tuple[str, ...]) -> None:
        self.symmetric = SymmetricState(protocol_name, responder_lift)
        self._steps = steps
        self._keys: TransportKeys | None = None

    @property
    def keys(self) -> TransportKeys:
        """The transport keys; raises `NoiseError` before the last step."""
        if self._keys is None:
            raise NoiseError("the handshake is not complete")
        return self._keys

    def _begin(self, step: str) -> SymmetricState:
        if not self._steps or self._steps[0] != step:
            raise NoiseError(f"{step} is out of turn")
        return self.symmetric.copy()

    def _begin_read(self, step: str, message: bytes, size: int) -> SymmetricState:
        state = self._begin(step)
        if len(message) != size:
            raise NoiseError(f"{step} takes {size} bytes, not {len(message)}")
        return state

    def _commit(self, state: SymmetricState) -> None:
        self.symmetric = state
        self._steps = self._steps[1:]

    def _finish(self, state: SymmetricState, initiator: bool) -> TransportKeys:
        self._commit(state)
        forth, back = state.split()
        self._keys = TransportKeys(forth, back) if initiator else TransportKeys(back, forth)
        return self._keys

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'before ' + self._steps[0] if self._steps else 'complete'}>"


def check_epoch(epoch: bytes) -> bytes:
    """Return a startup epoch, or raise `NoiseError` when it has not 8 bytes."""
    if len(epoch) != EPOCH_SIZE:
        raise NoiseError(f"a startup epoch has {EPOCH_SIZE} bytes, not {len(epoch)}")
    return epoch


def identity_of(static: bytes) -> PeerIdentity:
    """Return who holds a static key that a handshake carried; raise `NoiseError` when it is no key."""
    try:
        return PeerIdentity.from_public_key(static)
    except IdentityError as error:
        raise NoiseError(str(error)) from None
