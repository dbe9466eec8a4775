"""The air between virtual Bluetooth devices, as a program: `python -m tests.rigs.ble_air SOCKET`.

Every device is a virtual controller with a whole host stack on it (bumble): advertising, scanning and L2CAP channels
are real, only the radio is not. A radio (tests/rigs/ble_radio.py) attaches over SOCKET, a unix socket of packets, with
one JSON object per packet; a channel is handed over as a packet socket. The virtual controllers route by random
address, so device addresses begin with C0 or more. Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData, BaseBumbleError
from bumble.device import AdvertisingType, Connection, Device
from bumble.hci import Address, OwnAddressType
from bumble.host import Host
from bumble.l2cap import LeCreditBasedChannel, LeCreditBasedChannelSpec
from bumble.link import LocalLink

from meshnode.transports.ble.radio import LOCAL_NAME, SERVICE_UUID

_PACKET = 65536
_REPORT_SECS = 1.0
_LE_DATA_LENGTH = 251
"""Bytes of one packet on the air with the data length extension, which every newer controller has."""

_FLAGS = bytes([0x06])  # general discoverable, no BR/EDR
ADVERTISING_DATA = bytes(
    AdvertisingData(
        [
            (AdvertisingData.FLAGS, _FLAGS),
            (AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS, bytes(UUID(SERVICE_UUID))),
            (AdvertisingData.COMPLETE_LOCAL_NAME, LOCAL_NAME.encode()),
        ]
    )
)


def _text(address: Any) -> str:
    return str(address).split("/")[0]


class Pipe:
    """One channel on the air and the packet socket it is handed over as."""

    def __init__(self, channel: LeCreditBasedChannel) -> None:
        self._channel = channel
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        channel.sink = self._inbox.put_nowait  # at once: what comes without a sink is lost
        channel.on("close", lambda: self._inbox.put_nowait(b""))

    async def run(self) -> None:
        """Carry messages both ways until either end closes."""
        ways = [asyncio.ensure_future(way()) for way in (self._from_air, self._to_air)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._ours.close()
            if self._channel.state == self._channel.State.CONNECTED:
                with suppress(BaseBumbleError):
                    await self._channel.disconnect()

    async def _from_air(self) -> None:
        loop = asyncio.get_running_loop()
        while message := await self._inbox.get():
            try:
                await loop.sock_sendall(self._ours, message)
            except OSError:
                return

    async def _to_air(self) -> None:
        loop = asyncio.get_running_loop()
        while message := await _receive(loop, self._ours):
            # Messages that wait for credits would be merged into one: never let any wait.
            await self._channel.drain()
            self._channel.write(message)
            await self._channel.drain()


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    try:
        return await loop.sock_recv(sock, _PACKET)
    except OSError:
        return b""


class Station:
    """One device, driven by the radio at the other end of `client`."""

    def __init__(self, air: Air, client: socket.socket, order: dict[str, Any]) -> None:
        self.air = air
        self.name: str = order["device"]
        self.links: dict[str, Connection] = {}
        self._client = client
        self._order = order
        self._heard: dict[str, float] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        host = Host()
        controller = Controller(self.name, link=air.link, host_source=None)
        controller.le_acl_data_packet_length = _LE_DATA_LENGTH
        host.controller = controller
        controller.host = host
        self.device = Device(address=Address(self.name, Address.RANDOM_DEVICE_ADDRESS), host=host)
        self.device.on("connection", self._on_link)

    def tell(self, message: dict[str, Any], descriptor: socket.socket | None = None) -> None:
        with suppress(OSError):
            socket.send_fds(
                self._client, [json.dumps(message).encode()], [] if descriptor is None else [descriptor.fileno()]
            )
        if descriptor is not None:
            descriptor.close()

    async def power_on(self) -> None:
        await self.device.power_on()
        if self._order["listen"]:
            self.device.create_l2cap_server(self._spec(), self._accepted)
        if self._order["advertise"]:
            await self.device.start_advertising(
                advertising_type=AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE,
                own_address_type=OwnAddressType.RANDOM,
                auto_restart=True,  # a connection ends legacy advertising
                advertising_data=ADVERTISING_DATA,
                advertising_interval_min=100,
                advertising_interval_max=200,
            )
        if self._order["scan"]:
            self.device.on("advertisement", self._on_advertisement)
            await self.device.start_scanning(active=False, filter_duplicates=False)
        self.tell({"event": "open", "device": self.name})

    async def power_off(self) -> None:
        for task in self._tasks:
            task.cancel()
        for link in list(self.links.values()):
            with suppress(BaseBumbleError):
                await link.disconnect()
        with suppress(BaseBumbleError):
            await self.device.power_off()
        self.air.link.remove_controller(self.device.host.controller)

    def _spec(self) -> LeCreditBasedChannelSpec:
        return LeCreditBasedChannelSpec(psm=self._order["psm"], mtu=self._order["mtu"], mps=self._order["mtu"])

    def _on_link(self, connection: Connection) -> None:
        peer = _text(connection.peer_address)
        self.links[peer] = connection
        connection.on("disconnection", lambda *_: self.links.pop(peer, None))

    def _on_advertisement(self, advertisement: Any) -> None:
        name, now = _text(advertisement.address), asyncio.get_running_loop().time()
        uuids = advertisement.data.get_all(AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS)
        if UUID(SERVICE_UUID) not in [uuid for group in uuids for uuid in group]:
            return
        if self.air.carries(self.name, name) and now - self._heard.get(name, -_REPORT_SECS) >= _REPORT_SECS:
            self._heard[name] = now
            self.tell({"event": "found", "device": name})

    def _accepted(self, channel: LeCreditBasedChannel) -> None:
        pipe = Pipe(channel)
        peer = _text(channel.connection.peer_address)
        self.spawn(pipe.run())
        self.tell({"event": "accepted", "device": peer, **_mtus(channel)}, pipe.theirs)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def dial(self, number: int, peer: str) -> None:
        if not self.air.carries(self.name, peer):
            return  # nobody answers: the radio's own patience ends it
        try:
            link = await self.air.join(self, peer)
            channel = await link.create_l2cap_channel(self._spec())
        except (TimeoutError, BaseBumbleError) as error:
            self.tell({"event": "refused", "id": number, "cause": str(error) or type(error).__name__})
            return
        pipe = Pipe(channel)
        self.spawn(pipe.run())
        self.tell({"event": "dialled", "id": number, **_mtus(channel)}, pipe.theirs)


def _mtus(channel: LeCreditBasedChannel) -> dict[str, int]:
    return {"mtu": min(channel.mtu, channel.peer_mtu), "receive_mtu": channel.mtu}


class Air:
    """All devices; pairs that were cut neither hear nor reach each other, and unplugged devices do not work."""

    def __init__(self) -> None:
        self.link = LocalLink()
        self._stations: dict[str, Station] = {}
        self._cut: set[frozenset[str]] = set()
        self._unplugged: set[str] = set()
        self._joining = asyncio.Lock()

    def carries(self, one: str, other: str) -> bool:
        return frozenset((one, other)) not in self._cut and not {one, other} & self._unplugged

    async def join(self, station: Station, peer: str) -> Connection:
        """Return the one connection between two devices, whoever asks first."""
        async with self._joining:
            if peer not in station.links:
                await asyncio.wait_for(
                    station.device.connect(
                        Address(peer, Address.RANDOM_DEVICE_ADDRESS), own_address_type=OwnAddressType.RANDOM
                    ),
                    5.0,
                )
            return station.links[peer]

    async def serve(self, client: socket.socket) -> None:
        """Do what one client says until it goes away."""
        loop = asyncio.get_running_loop()
        station: Station | None = None
        try:
            while packet := await _receive(loop, client):
                order = json.loads(packet)
                if order["op"] == "attach":
                    station = await self._attach(client, order)
                elif order["op"] == "dial" and station is not None:
                    station.spawn(station.dial(order["id"], order["device"]))
                elif station is None:
                    await self._change(order)
                    client.send(b"{}")
        finally:
            if station is not None:
                self._stations.pop(station.name, None)
                await station.power_off()
            client.close()

    async def _attach(self, client: socket.socket, order: dict[str, Any]) -> Station | None:
        if order["device"] in self._unplugged:
            client.send(json.dumps({"event": "trouble", "cause": "the adapter is not plugged in"}).encode())
            return None
        station = self._stations[order["device"]] = Station(self, client, order)
        await station.power_on()
        return station

    async def _change(self, order: dict[str, Any]) -> None:
        changes: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
            "cut": self._cut_pair,
            "mend": self._mend_pair,
            "unplug": self._unplug,
            "plug": self._plug,
        }
        await changes[order["op"]](*order["devices"])

    async def _cut_pair(self, one: str, other: str) -> None:
        self._cut.add(frozenset((one, other)))
        station = self._stations.get(one)
        if station is not None and other in station.links:
            await station.links[other].disconnect()

    async def _mend_pair(self, one: str, other: str) -> None:
        self._cut.discard(frozenset((one, other)))

    async def _unplug(self, device: str) -> None:
        self._unplugged.add(device)
        station = self._stations.get(device)
        if station is not None:
            station.tell({"event": "lost", "cause": "the adapter was removed"})

    async def _plug(self, device: str) -> None:
        self._unplugged.discard(device)


async def main(path: str) -> None:
    """Serve at `path` until the standard input ends."""
    loop = asyncio.get_running_loop()
    air = Air()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.setblocking(False)
    listening.bind(path)
    listening.listen(64)
    clients: set[asyncio.Future[None]] = set()
    ended = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: ended.done() or ended.set_result(None))

    async def accept() -> None:
        while True:
            client, _address = await loop.sock_accept(listening)
            task = asyncio.ensure_future(air.serve(client))
            clients.add(task)
            task.add_done_callback(clients.discard)

    accepting = asyncio.ensure_future(accept())
    print("ready", flush=True)
    await ended
    accepting.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
