"""Addresses of stations on an Ethernet: `interface/aa:bb:cc:dd:ee:ff` for people, six bytes for the wire."""

from __future__ import annotations

import re

BROADCAST = b"\xff" * 6
_NOBODY = bytes(6)
_SHAPE = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}")
_GROUP_BIT = 1
_MOST = 4096


def parse_mac(text: str) -> bytes | None:
    """Read six groups of one or two hexadecimal digits; None for anything else."""
    return bytes(int(group, 16) for group in text.split(":")) if _SHAPE.fullmatch(text) else None


def is_station(mac: bytes) -> bool:
    """Whether `mac` is the address of one station: not a group, not everybody, not nobody."""
    return mac != _NOBODY and not mac[0] & _GROUP_BIT


class Stations:
    """Both directions between the text and the bytes of addresses on one interface.

    Hot code reads `texts` and `macs` directly and calls a method only for what it does not find there.
    """

    def __init__(self, interface: str) -> None:
        self._prefix = f"{interface}/"
        self.texts: dict[bytes, str] = {}
        self.macs: dict[str, bytes] = {}

    def text_of(self, mac: bytes) -> str:
        """Return the text of `mac` and remember the pair."""
        text = self._prefix + mac.hex(":")
        self._remember(mac, text)
        return text

    def mac_of(self, text: str) -> bytes | None:
        """Return the address of one station on this interface, and remember the pair; None for any other text."""
        mac = parse_mac(text.removeprefix(self._prefix)) if text.startswith(self._prefix) else None
        if mac is None or not is_station(mac):
            return None
        self._remember(mac, text)
        return mac

    def _remember(self, mac: bytes, text: str) -> None:
        # Emptying the tables is cheap, rare, and leaves nothing a flood of invented senders could pin down.
        if len(self.macs) >= _MOST:
            self.macs.clear()
            self.texts.clear()
        self.macs[text] = mac
        self.texts.setdefault(mac, self._prefix + mac.hex(":"))
