"""The BLE transport: channels to devices by address, found by scanning or configured (spec 04 section 9).

Two channels between the same pair of devices are one too many; `greeted` decides by the rule of spec 04 section 9.2
which stays, with one difference: a channel that the other side opened is closed only when this side has or opens one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshnode.identity import PeerIdentity
from meshnode.transports.ble.addresses import format_address, parse_device
from meshnode.transports.ble.channel import BleCounters, Channel
from meshnode.transports.ble.greeting import Greeting
from meshnode.transports.ble.hello import own_channel_wins
from meshnode.transports.ble.links import Dial, Link
from meshnode.transports.ble.prober import Prober
from meshnode.transports.ble.radio import IRadio, IRadioUser, RadioError, RadioStatus, make_radio
from meshnode.transports.ble.settings import SMALLEST_MTU, BleSettings
from meshnode.transports.complaints import Complaints
from meshnode.transports.interfaces import (
    IConnectionTransport,
    ITransportFactory,
    ITransportHost,
    TransportError,
)

REOPEN_SECS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses between attempts to get at the radio; the last one repeats."""
ADOPT_SECS = 3.0
"""How long whoever opened a channel to us has for its first frame before we open the link ourselves."""
PROBE_PAUSE = 1.0

_log = Logger()
_delivering = _log.failureHandler("a link frame upset the node")
_ending_burst = _log.failureHandler("the end of a burst upset the node")


@implementer(IConnectionTransport, IRadioUser)
class BleTransport:
    """One adapter on any reactor that has descriptors. `radio` stands in for the one the settings name."""

    kind = "ble"

    def __init__(
        self,
        transport_id: int,
        name: str | None,
        settings: BleSettings,
        host: ITransportHost,
        reactor: Any,
        radio: IRadio | None = None,
    ) -> None:
        self.transport_id = transport_id
        self.name = name
        self.state = "configured"
        self.mtu = settings.mtu
        self.accepts_connections = settings.accept_connections
        self.local_address: str | None = None
        self._settings = settings
        self._own = PeerIdentity(host.public_key)
        self._host = host
        self._reactor = reactor
        self._radio = radio
        self._counters = BleCounters()
        self._complaints = Complaints(_log, reactor.seconds)
        self._prober = Prober(float(settings.probe_cooldown_secs))
        self._links: dict[str, Link] = {}
        self._dials: dict[str, Dial] = {}
        self._arrivals: dict[Channel, Greeting] = {}
        self._texts: dict[str, str] = {}
        self._reopenings = 0
        self._last_cause = ""
        self._stopped = False
        self._timer: Any = None
        self._probe_timer: Any = None

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to use the radio; one that is not there yet is waited for. Raises `TransportError`."""
        if self.state in ("starting", "up"):
            raise TransportError("transport already started")
        settings = self._settings
        if settings.mtu < SMALLEST_MTU:
            raise TransportError(f"ble mtu {settings.mtu} is too small; write {SMALLEST_MTU} or more (2048 is usual)")
        if self._radio is None:
            try:
                self._radio = make_radio(settings.radio, self._reactor)
            except TransportError:
                self.state = "failed"
                raise
        self.state, self._stopped = "starting", False
        self._open_radio(self._radio)

    def _open_radio(self, radio: IRadio) -> None:
        self._timer = None
        radio.open(self).addCallbacks(self._radio_opened, self._radio_refused)

    def _radio_opened(self, status: RadioStatus) -> None:
        if self._stopped:
            if self._radio is not None:
                self._radio.close()
            return
        self._reopenings, self._last_cause = 0, ""
        self._counters.advertisements_sent += status.advertising
        self.local_address = format_address(self._settings.adapter, status.device)
        self.state = "up"
        self._host.state_changed(self, f"{self.local_address}, mtu {self.mtu}")
        self._host.burst_ended()

    def _radio_refused(self, failure: Failure) -> None:
        error = failure.value
        if self._stopped:
            return
        if not isinstance(error, RadioError):
            _log.failure("the radio is at fault", failure)
        elif error.permanent:
            self.state = "failed"
            self._host.state_changed(self, str(error))
            return
        if str(error) != self._last_cause:
            self._last_cause = str(error)
            _log.warn("ble waits for its radio: {cause}", cause=self._last_cause)
        self._reopen_later()

    def _reopen_later(self) -> None:
        pause = REOPEN_SECS[min(self._reopenings, len(REOPEN_SECS) - 1)]
        self._reopenings += 1
        self._timer = self._reactor.callLater(pause, self._open_radio, self._radio)

    def radio_lost(self, reason: str) -> None:
        """Give up every channel and wait for the radio (`IRadioUser`)."""
        if self.state != "up":
            return
        self.state, self.local_address = "down", None
        self._drop_everything(reason)
        self._host.state_changed(self, reason)
        self._host.burst_ended()
        self._reopen_later()

    def stop(self) -> Deferred[None] | None:
        """Close every channel, what was sent first, and leave the radio."""
        if self.state == "configured":
            return None
        self.state, self.local_address, self._stopped = "down", None, True
        for timer in (self._timer, self._probe_timer):
            if timer is not None and timer.active():
                timer.cancel()
        for dial in list(self._dials.values()):
            self._end_dial(dial)
        for greeting in self._arrivals.values():
            greeting.give_up()
        for link in self._links.values():
            link.channel.finish()
        self._arrivals.clear()
        self._links.clear()
        self._texts.clear()
        return None if self._radio is None else self._radio.close()

    def _drop_everything(self, reason: str) -> None:
        for dial in list(self._dials.values()):
            self._dial_failed(dial, reason)
        for greeting in self._arrivals.values():
            greeting.give_up()
        self._arrivals.clear()
        for link in list(self._links.values()):
            link.channel.close()
            self.channel_lost(link.channel, reason)

    # -- questions ----------------------------------------------------------------------------------------------------

    def link_mtu(self, address: str) -> int:
        link = self._link_at(address)
        return self.mtu if link is None else link.channel.mtu

    def stats(self) -> dict[str, int]:
        return self._counters.as_dict()

    def can_dial(self, address: str) -> bool:
        """Whether `address` names a device; which adapter it names does not matter (spec 04 section 1.10)."""
        if self.state != "up":
            return False
        try:
            parse_device(address)
        except TransportError:
            return False
        return True

    def is_connected(self, address: str) -> bool:
        return self._link_at(address) is not None

    def is_inbound(self, address: str) -> bool:
        link = self._link_at(address)
        return link is not None and link.channel.inbound

    def connections(self) -> list[str]:
        return [link.address for link in self._links.values()]

    def _link_at(self, address: str) -> Link | None:
        return self._links.get(self._texts.get(address, ""))

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, address: str, frames: list[bytes]) -> None:
        """Send `frames` on the open channel; without one they are counted."""
        link = self._links.get(self._texts.get(address, ""))
        if link is None:
            self._counters.send_errors += len(frames)
        else:
            link.channel.send(frames)

    def flush(self) -> None:
        """Nothing waits: a frame is a packet of its own, so `send` hands it to the system at once."""

    # -- opening ------------------------------------------------------------------------------------------------------

    def connect(self, address: str) -> None:
        """Open a channel to the device at `address`; one that the other side opened serves as well."""
        try:
            device = parse_device(address)
        except TransportError as error:
            self._reactor.callLater(0, self._host.connect_failed, self, address, str(error))
            return
        link, dial = self._links.get(device), self._dials.get(device)
        if link is not None:
            self._rename(link, device, address)
            self._reactor.callLater(0, self._tell_connected, link, address)
        elif dial is not None:
            dial.wanted, dial.address = True, address
        elif self._is_full():
            self._reactor.callLater(0, self._host.connect_failed, self, address, self._full_text())
        else:
            self._dial(device, address, wanted=True)

    def _tell_connected(self, link: Link, address: str) -> None:
        if link.channel.is_open:
            self._host.connected(self, address)
        else:
            self._host.connect_failed(self, address, "closed by the other side")
        self._host.burst_ended()

    def disconnect(self, address: str) -> None:
        """Close the channel at `address` without telling the host, once what was sent has left."""
        link = self._link_at(address)
        if link is not None:
            self._forget(link)
            link.channel.finish()
            self._look_again(link.channel.peer)
            return
        for dial in list(self._dials.values()):
            if dial.address == address:
                self._end_dial(dial)

    def _is_full(self) -> bool:
        used = len(self._links) + len(self._dials) + len(self._arrivals)
        return used >= self._settings.max_connections

    def _full_text(self) -> str:
        return f"all {self._settings.max_connections} connections of this radio are in use (max_connections)"

    def _dial(self, device: str, address: str, *, wanted: bool) -> None:
        if self._radio is None:
            return
        timeout = self._settings.connect_timeout_ms / 1000
        dial = Dial(device, address, wanted, None)
        dial.timer = self._reactor.callLater(timeout, self._timed_out, dial)
        self._dials[device] = dial
        dial.attempt = self._radio.dial(device)
        dial.attempt.addCallbacks(self._dialled, self._refused, callbackArgs=(dial,), errbackArgs=(dial,))

    def _dialled(self, channel: Channel, dial: Dial) -> None:
        if self._dials.get(dial.device) is not dial:
            channel.close()
            return
        dial.timer.cancel()
        dial.greeting = Greeting(self._reactor, channel, self._own, self)

    def _refused(self, failure: Failure, dial: Dial) -> None:
        if self._dials.get(dial.device) is not dial:
            return
        error = failure.value
        if not isinstance(error, (OSError, TransportError)):
            _log.failure("the radio is at fault", failure)
        text = error.strerror if isinstance(error, OSError) else None
        # Never from within `connect`: a radio may refuse at once.
        self._reactor.callLater(0, self._dial_failed, dial, text or str(error))

    def _timed_out(self, dial: Dial) -> None:
        self._counters.connect_timeouts += 1
        self._dial_failed(dial, f"no answer within {self._settings.connect_timeout_ms / 1000:g} s")

    def _end_dial(self, dial: Dial) -> None:
        """Stop opening a channel, in whatever stage."""
        self._dials.pop(dial.device, None)
        if dial.timer.active():
            dial.timer.cancel()
        if dial.greeting is not None:
            dial.greeting.give_up()
        elif dial.attempt is not None:
            dial.attempt.cancel()

    def _dial_failed(self, dial: Dial, cause: str) -> None:
        if self._dials.get(dial.device) is not dial:
            return
        self._end_dial(dial)
        if dial.wanted:
            self._host.connect_failed(self, dial.address, cause)
            self._host.burst_ended()
        self._probe_soon()

    # -- what the radio tells (`IRadioUser`) --------------------------------------------------------------------------

    def channel_accepted(self, channel: Channel) -> None:
        """Greet whoever opened a channel, unless we are full or have one to that device already."""
        known = self._links.get(channel.peer)
        if (known is not None and known.channel.inbound) or self._is_full():
            self._counters.connections_rejected += 1
            channel.close()
            return
        self._arrivals[channel] = Greeting(self._reactor, channel, self._own, self)

    def device_found(self, device: str) -> None:
        """Remember a device with our service, to be probed when nodes that are found are dialled."""
        self._counters.scan_results += 1
        if self._settings.auto_connect and device not in self._links:
            self._prober.found(device, self._reactor.seconds())
            self._probe()

    def _probe(self) -> None:
        """Open a channel to the next device that was heard, one at a time: a controller can do no more."""
        if self.state == "up" and not self._dials and not self._is_full():
            device = self._prober.next(self._reactor.seconds())
            if device is not None:
                self._dial(device, self._address_of(device), wanted=False)
        self._probe_soon()

    def _probe_soon(self) -> None:
        due = self._prober.next_deadline()
        if due is None or self.state != "up" or (self._probe_timer is not None and self._probe_timer.active()):
            return
        pause = max(due - self._reactor.seconds(), PROBE_PAUSE)
        self._probe_timer = self._reactor.callLater(pause, self._probe)

    # -- what channels tell (`GreetingHost`, `ChannelUser`) -----------------------------------------------------------

    def greeted(self, channel: Channel, peer: PeerIdentity, frames: list[bytes]) -> None:
        """Keep the channel, or the other one to the same device."""
        if peer == self._own:
            channel.close()
            self.not_greeted(channel, "this device has our own key")
            return
        dial = self._dials.get(channel.peer)
        if channel.inbound:
            del self._arrivals[channel]
            has_own = dial is not None or channel.peer in self._links
            if has_own and own_channel_wins(self._own, peer):
                self._counters.connections_rejected += 1
                channel.close()
                return
            self._counters.connections_accepted += 1
        else:
            self._counters.connections_established += 1
        self._keep(channel, peer, dial)
        if frames:
            self.messages_received(channel, frames)

    def _keep(self, channel: Channel, peer: PeerIdentity, dial: Dial | None) -> None:
        device = channel.peer
        previous = self._links.pop(device, None)
        address = self._address_of(device)
        wanted = False
        if dial is not None:
            # An inbound channel that wins ends our own attempt; whoever asked for that gets this one.
            address, wanted = (dial.address, True) if dial.wanted else (address, False)
            if channel.inbound:
                self._end_dial(dial)
            else:
                del self._dials[device]
        elif previous is not None:
            address = previous.address
        if previous is not None:
            previous.channel.close()
        link = Link(channel, peer, address)
        self._links[device] = link
        self._texts[address] = device
        self._prober.connected(device)
        channel.hand_over(self, self._counters)
        if channel.mtu != self.mtu:
            self._host.mtu_changed(self, address)
        if wanted:
            self._host.connected(self, address)
        elif self._settings.auto_connect:
            self._adopt(link)

    def _adopt(self, link: Link) -> None:
        """Tell the node of somebody new: at once when we came to them, after a while when they came to us."""
        if not link.channel.inbound:
            self._host.neighbour_found(self, link.address, link.peer.xonly)
        else:
            self._reactor.callLater(ADOPT_SECS, self._adopt_silent, link)

    def _adopt_silent(self, link: Link) -> None:
        if link.channel.is_open and not link.heard:
            self._host.neighbour_found(self, link.address, link.peer.xonly)
            self._host.burst_ended()

    def not_greeted(self, channel: Channel, cause: str) -> None:
        """Count a channel that was of no use (`GreetingHost`)."""
        if channel.inbound:
            self._arrivals.pop(channel, None)
            self._counters.connections_rejected += 1
            self._complaints.warn("ble refuses", channel.peer, cause)
            return
        dial = self._dials.get(channel.peer)
        if dial is not None:
            self._dial_failed(dial, cause)

    def messages_received(self, channel: Channel, messages: list[bytes]) -> None:
        """Hand frames up (`ChannelUser`)."""
        link = self._links.get(channel.peer)
        if link is not None and link.channel is channel:
            link.heard = True
            self._counters.packets_recv += len(messages)
            self._counters.bytes_recv += sum(map(len, messages))
            with _delivering:
                self._host.frames_received(self, link.address, messages)

    def burst_ended(self) -> None:
        with _ending_burst:
            self._host.burst_ended()

    def channel_lost(self, channel: Channel, cause: str) -> None:
        """Tell the node, and try the device again later if devices are looked for (`ChannelUser`)."""
        link = self._links.get(channel.peer)
        if link is None or link.channel is not channel:
            return
        self._forget(link)
        self._look_again(channel.peer)
        self._host.connection_lost(self, link.address, cause, not channel.inbound)

    def _look_again(self, device: str) -> None:
        """A device without a channel is probed again later; the controller will not tell of it once more."""
        if self._settings.auto_connect:
            self._prober.lost(device, self._reactor.seconds())
            self._probe_soon()

    # -- names --------------------------------------------------------------------------------------------------------

    def _address_of(self, device: str) -> str:
        return format_address(self._settings.adapter, device)

    def _rename(self, link: Link, device: str, address: str) -> None:
        """Let the node call the channel by the text it dials, whatever its spelling."""
        link.address = address
        self._texts[address] = device

    def _forget(self, link: Link) -> None:
        device = link.channel.peer
        del self._links[device]
        self._texts = {text: known for text, known in self._texts.items() if known != device}


@implementer(ITransportFactory)
class BleTransportFactory:
    """Makes BLE transports from their configuration sections."""

    kind = "ble"

    def create(
        self, transport_id: int, name: str | None, section: object, host: ITransportHost, reactor: Any
    ) -> BleTransport:
        return BleTransport(transport_id, name, BleSettings.from_section(section), host, reactor)
