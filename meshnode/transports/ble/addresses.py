"""Where a Bluetooth peer is, in text: `hci0/AA:BB:CC:DD:EE:FF`, or the device address alone (spec 04 section 1.10)."""

from __future__ import annotations

import re

from meshnode.transports.interfaces import TransportError

_DEVICE = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def parse_device(text: str) -> str:
    """Return the device address in `text` in upper case; the adapter before a slash counts for nothing.

    Raises `TransportError`.
    """
    device = text.rpartition("/")[2]
    if not _DEVICE.fullmatch(device):
        raise TransportError(f"invalid transport address: {text!r}: write it as hci0/AA:BB:CC:DD:EE:FF")
    return device.upper()


def format_address(adapter: str, device: str) -> str:
    """Return the canonical text of a device as seen from `adapter`."""
    return f"{adapter}/{device.upper()}"
