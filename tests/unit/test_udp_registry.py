"""Finding the carrier of a name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from zope.interface.verify import verifyObject

import twisted.plugins
from meshnode.transports.interfaces import ITransportFactory, TransportError
from meshnode.transports.registry import factories, factory
from meshnode.transports.udp import UdpTransport, UdpTransportFactory
from tests.unit.udp_rig import RecordingHost, StillReactor

PLUGIN = """
from zope.interface import implementer
from twisted.plugin import IPlugin
from meshnode.transports.interfaces import ITransportFactory

@implementer(IPlugin, ITransportFactory)
class Pigeons:
    def __init__(self, kind):
        self.kind = kind
    def create(self, transport_id, name, section, host, reactor):
        raise AssertionError("never made here")

pigeons = Pigeons("pigeon")
impostor = Pigeons("udp")
"""


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "meshnode_test_pigeons.py").write_text(PLUGIN)
    monkeypatch.setattr(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path)])
    yield
    sys.modules.pop("twisted.plugins.meshnode_test_pigeons", None)


def test_udp_is_built_in_and_makes_udp_transports() -> None:
    made = factory("udp").create(3, "lan", SimpleNamespace(mtu=1400), RecordingHost(), StillReactor())
    assert isinstance(made, UdpTransport)
    assert (made.transport_id, made.name, made.mtu, made.state) == (3, "lan", 1400, "configured")


def test_factories_provide_the_interface() -> None:
    verifyObject(ITransportFactory, factory("udp"))
    verifyObject(ITransportFactory, UdpTransportFactory())


def test_an_unknown_carrier_is_named_in_the_error() -> None:
    with pytest.raises(TransportError, match="transport not supported: carrier-wave"):
        factory("carrier-wave")


@pytest.mark.usefixtures("plugin_folder")
def test_other_peoples_carriers_are_found_as_plugins() -> None:
    assert factory("pigeon").kind == "pigeon"
    assert set(factories()) >= {"udp", "pigeon"}


@pytest.mark.usefixtures("plugin_folder")
def test_a_plugin_cannot_take_the_place_of_a_built_in_carrier() -> None:
    made = factories()["udp"].create(1, None, SimpleNamespace(), RecordingHost(), StillReactor())
    assert isinstance(made, UdpTransport)
