"""Noise: IK for links, XK for sessions, transport ciphers and the replay window (spec 01 section 2)."""

from .cipher import LIBRARY, MAX_COUNTER, NONCE, TAG_SIZE, Aead, InvalidTag, aead
from .errors import NoiseError
from .ik import IkInitiator, IkResponder
from .symmetric import TransportKeys
from .window import WINDOW, ReplayWindow
from .xk import XkInitiator, XkResponder

__all__ = [
    "LIBRARY",
    "MAX_COUNTER",
    "NONCE",
    "TAG_SIZE",
    "WINDOW",
    "Aead",
    "IkInitiator",
    "IkResponder",
    "InvalidTag",
    "NoiseError",
    "ReplayWindow",
    "TransportKeys",
    "XkInitiator",
    "XkResponder",
    "aead",
]
