"""What the mDNS library resolves, as our own table of adverts takes it."""

from __future__ import annotations

from zeroconf.asyncio import AsyncServiceInfo

from meshnode.discovery.mdns import advert_of
from meshnode.identity import Identity

_SERVICE = "_fips._udp.local."


def test_names_in_the_text_of_an_advert_count_in_any_case() -> None:
    """RFC 6763, section 6.4; spec 04b, section 1.1: the reference reads the text of such a node as if it had none."""
    npub = Identity(b"\1" * 32).npub
    text = {"NPUB": npub, "Scope": "fips-overlay-v1", "V": "1"}
    info = AsyncServiceInfo(_SERVICE, f"fips-a.{_SERVICE}", properties=text, port=2121, addresses=[b"\xc0\0\2\1"])
    found = advert_of(info, "eth0", "fips-a")
    assert (found.npub, found.scope, found.addresses) == (npub, "fips-overlay-v1", ("192.0.2.1",))
