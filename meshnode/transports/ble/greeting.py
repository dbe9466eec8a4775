"""The exchange of keys at the beginning of every channel (spec 04 section 9.1)."""

from __future__ import annotations

from typing import Any, Protocol

from meshnode.identity import PeerIdentity
from meshnode.transports.ble.channel import Channel
from meshnode.transports.ble.hello import HELLO_TIMEOUT, HelloError, encode_hello, parse_hello


class GreetingHost(Protocol):
    """Who wants to know how a greeting went; exactly one of the first two is called, unless it is given up."""

    def greeted(self, channel: Channel, peer: PeerIdentity, frames: list[bytes]) -> None:
        """Take over `channel`, to somebody who claims to be `peer`; `frames` came right behind the hello."""

    def not_greeted(self, channel: Channel, cause: str) -> None:
        """Note that `channel` was of no use and is closed."""

    def burst_ended(self) -> None:
        """Note that one reactor wake-up of a channel is over."""


class Greeting:
    """One channel that waits for the other side's hello (`ChannelUser`)."""

    def __init__(self, reactor: Any, channel: Channel, own: PeerIdentity, host: GreetingHost) -> None:
        self.channel = channel
        self._host = host
        self._timer = reactor.callLater(HELLO_TIMEOUT, self._too_late)
        channel.open(self)
        channel.send([encode_hello(own)])

    def give_up(self) -> None:
        """Close the channel without a word."""
        self._cancel_timer()
        self.channel.close()

    def messages_received(self, channel: Channel, messages: list[bytes]) -> None:
        self._cancel_timer()
        try:
            peer = parse_hello(messages[0])
        except HelloError as error:
            channel.close()
            self._host.not_greeted(channel, str(error))
        else:
            self._host.greeted(channel, peer, messages[1:])

    def burst_ended(self) -> None:
        self._host.burst_ended()

    def channel_lost(self, channel: Channel, cause: str) -> None:
        if self._timer.active():
            self._timer.cancel()
            self._host.not_greeted(channel, cause)

    def _too_late(self) -> None:
        self.channel.close()
        self._host.not_greeted(self.channel, f"no hello within {HELLO_TIMEOUT:g} s")

    def _cancel_timer(self) -> None:
        if self._timer.active():
            self._timer.cancel()
