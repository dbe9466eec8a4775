"""What the BLE transport reads from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.transports.ble.radio import RadioSettings
from meshnode.transports.settings import Section

SMALLEST_MTU = 114
"""Bytes of the largest handshake message."""


@dataclass(frozen=True, slots=True)
class BleSettings(Section):
    """What the transport reads from one instance under `transports.ble` (spec 05 section 5.17); sizes in bytes."""

    adapter: str = "hci0"
    psm: int = 0x85
    mtu: int = 2048
    max_connections: int = 7
    connect_timeout_ms: int = 10_000
    advertise: bool = True
    scan: bool = True
    auto_connect: bool = False
    accept_connections: bool = True
    probe_cooldown_secs: int = 30

    @property
    def radio(self) -> RadioSettings:
        return RadioSettings(
            self.adapter, self.psm, self.mtu, self.advertise, self.scan, listen=self.accept_connections
        )
