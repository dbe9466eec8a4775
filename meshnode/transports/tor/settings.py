"""What the Tor transport reads from its configuration (spec 04 section 7.2), and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from meshnode.transports.interfaces import TransportError
from meshnode.transports.settings import Section

DEFAULT_CONTROL = "/run/tor/control"
MODES = ("socks5", "control_port", "directory")


@dataclass(frozen=True, slots=True)
class DirectoryService(Section):
    """An onion service that Tor keeps itself: where its name is found, and where Tor delivers its streams."""

    hostname_file: str = "/var/lib/tor/fips_onion_service/hostname"
    bind_addr: str = "127.0.0.1:8443"


@dataclass(frozen=True, slots=True)
class OwnTor(Section):
    """`meshnode.tor`: what goes beyond the reference. The paths are absolute."""

    launch: bool = False
    program: str = "tor"
    data_directory: str = ""
    torrc: str | None = None
    onion_service: str = "none"
    onion_key_file: str = ""


@dataclass(frozen=True, slots=True)
class TorSettings(Section):
    """One instance under `transports.tor`, with what `meshnode.tor` adds in `own`."""

    parts: ClassVar[Mapping[str, type[Section]]] = {"directory_service": DirectoryService, "own": OwnTor}

    mode: str = "socks5"
    socks5_addr: str = "127.0.0.1:9050"
    connect_timeout_ms: int = 120_000
    mtu: int = 1400
    control_addr: str = DEFAULT_CONTROL
    control_auth: str = "cookie"
    cookie_path: str = "/var/run/tor/control.authcookie"
    max_inbound_connections: int = 64
    advertised_port: int = 443
    directory_service: DirectoryService | None = None
    own: OwnTor = OwnTor()

    @property
    def service(self) -> DirectoryService | None:
        """The onion service of directory mode."""
        if self.mode != "directory":
            return None
        return self.directory_service or DirectoryService()

    @property
    def offers_onion(self) -> bool:
        """Whether an onion service is to be made through the control port."""
        return self.own.onion_service != "none" and self.mode != "directory"

    @property
    def wants_control(self) -> bool:
        """Whether the control port is used. In directory mode it need not be, so there it has to be asked for."""
        asked = self.mode == "directory" and self.control_addr != DEFAULT_CONTROL
        return self.mode == "control_port" or self.own.launch or self.offers_onion or asked

    def check(self) -> None:
        """Raise `TransportError`: one line that says what to write instead."""
        if self.mode not in MODES:
            raise TransportError(f"tor mode {self.mode!r} is unknown; write one of {', '.join(MODES)}")
        if self.directory_service is not None and self.mode != "directory":
            raise TransportError(f"tor directory_service requires mode 'directory', not {self.mode!r}")
        if self.own.launch and self.mode == "directory":
            raise TransportError(
                "tor mode 'directory' needs a Tor that keeps the service; with meshnode.tor.launch write mode"
                " 'control_port' and meshnode.tor.onion_service"
            )
