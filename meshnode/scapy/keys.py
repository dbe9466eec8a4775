"""The keys with which layers open what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from meshnode.noise import NONCE, InvalidTag, aead


@dataclass(slots=True)
class Keys:
    """32-byte transport keys: of links by the index in the frame header, of sessions as a pile to be tried in turn."""

    link: dict[int, bytes] = field(default_factory=dict)
    session: list[bytes] = field(default_factory=list)

    def open_link(self, index: int, counter: int, sealed: bytes, header: bytes) -> bytes | None:
        """Return the plaintext of a frame, None without the right key."""
        key = self.link.get(index)
        return None if key is None else _open([key], counter, sealed, header)

    def open_session(self, counter: int, sealed: bytes, header: bytes) -> bytes | None:
        """Return the plaintext of a session message, None without the right key."""
        return _open(self.session, counter, sealed, header)


def _open(keys: Iterable[bytes], counter: int, sealed: bytes, header: bytes) -> bytes | None:
    nonce = NONCE.pack(counter)
    for key in keys:
        try:
            return aead(key).decrypt(nonce, sealed, header)
        except InvalidTag:
            continue
    return None
