"""The one error of the handshakes."""


class NoiseError(ValueError):
    """A handshake message that is malformed, forged or out of turn. Nothing in the handshake changed because of it."""
