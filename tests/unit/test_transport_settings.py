"""Reading a section of the configuration into the settings of a transport."""

from __future__ import annotations

from types import SimpleNamespace

from meshnode.transports.tcp import TcpSettings
from meshnode.transports.tor.settings import DirectoryService, OwnTor, TorSettings


def test_what_is_absent_or_none_means_the_default_and_what_is_unknown_nothing() -> None:
    section = SimpleNamespace(bind_addr=None, mtu=1300, keepalive_secs=0, unknown="value")
    assert TcpSettings.from_section(section) == TcpSettings(mtu=1300, keepalive_secs=0)


def test_sections_within_a_section_are_read_as_well() -> None:
    service = SimpleNamespace(hostname_file=None, bind_addr="127.0.0.1:9000")
    section = SimpleNamespace(mode="directory", directory_service=service, own=SimpleNamespace(launch=True))
    assert TorSettings.from_section(section) == TorSettings(
        mode="directory", directory_service=DirectoryService(bind_addr="127.0.0.1:9000"), own=OwnTor(launch=True)
    )
    assert TorSettings.from_section(SimpleNamespace()) == TorSettings()
