"""Address, MTU and routes of the TUN interface (spec 02 section 11.5), set by a child process that ends at once."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

_CHILD: Final = Path(__file__).with_name("_netsetup_child.py")
_DISABLE_IPV6: Final = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
_ADDRESSES: Final = Path("/proc/net/if_inet6")
_TIMEOUT: Final = 10.0
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 0x1
_IFREQ: Final = struct.Struct("16sH22x")


class NetworkSetupError(Exception):
    """The interface cannot be configured; the text is one line with cause and remedy."""


def check_ipv6_enabled(switch: Path = _DISABLE_IPV6) -> None:
    """Raise NetworkSetupError when the kernel has no IPv6 or has it switched off."""
    try:
        disabled = switch.read_text().strip() == "1"
    except FileNotFoundError:
        raise NetworkSetupError("the kernel has no IPv6: load the module (modprobe ipv6), or disable tun") from None
    if disabled:
        raise NetworkSetupError("IPv6 is disabled: sysctl net.ipv6.conf.all.disable_ipv6=0, or disable tun")


def is_led_here(address: bytes) -> bool:
    """Whether the kernel sends packets for the address beside `address`, which is nobody's, from `address`.

    It chooses an address of the interface that the packets leave by, so this is to ask where mesh addresses are led.
    """
    beside = IPv6Address(int.from_bytes(address, "big") ^ 1)
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
            asking.connect((str(beside), 9))  # sends nothing
            source: str = asking.getsockname()[0]
    except OSError:
        return False
    return source == str(IPv6Address(address))


class NetworkSetup:
    """What this node changed in the host's network configuration besides making the interface.

    `prepare` may be called early: the child takes an eighth of a second to load what it needs, and then waits for its
    request while the node goes on starting.
    """

    def __init__(
        self, reactor: Any, addresses: Path = _ADDRESSES, is_led_here: Callable[[bytes], bool] = is_led_here
    ) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._is_led_here = is_led_here
        self._was_led_here = False
        self._prepared: _Child | None = None
        self._rule_added = False

    def prepare(self) -> None:
        """Start the child for the coming `configure`."""
        if self._prepared is None:
            self._prepared = _Child(self._reactor)

    async def configure(self, name: str, address: bytes, mtu: int) -> None:
        """Give interface `name` our mesh address (16 bytes) and `mtu`, bring it up, lead the mesh prefix into it.

        Raises NetworkSetupError.
        """
        request = {"do": "configure", "name": name, "address": str(IPv6Address(address)), "mtu": mtu}
        try:
            check_ipv6_enabled()
            answer = await self._ask(request)
        finally:
            self.cancel()
        self._rule_added = self._rule_added or answer["rule_added"]  # that of a former interface is still there
        self._was_led_here = self._is_led_here(address)

    def lack(self, name: str, address: bytes) -> str | None:
        """What interface `name` has not got any more of what `configure` gave it, in words; None when it is all there.

        Of routes only what they are for is looked at, as the kernel's list of them may be long; and not at all where
        packets for the mesh went elsewhere from the beginning: whoever leads them there means it.
        """
        try:
            if not _is_up(name):
                return f"somebody set TUN interface {name} down"
            rows = [line.split() for line in self._addresses.read_text().splitlines()]
        except OSError:
            return f"TUN interface {name} or all of IPv6 is gone: somebody removed or renamed it"
        if (address.hex(), name) not in [(row[0], row[-1]) for row in rows]:
            return f"TUN interface {name} has lost its address: somebody took it away, or disabled IPv6"
        if self._was_led_here and not self._is_led_here(address):
            return f"packets for the mesh are led into TUN interface {name} no more: somebody took its route away"
        return None

    async def remove(self) -> None:
        """Undo what outlives the interface, which takes its address and route along. Raises NetworkSetupError."""
        self.cancel()
        if self._rule_added:
            self._rule_added = False
            await self._ask({"do": "remove_rule"})

    def cancel(self) -> None:
        """End a child that was prepared and is not needed."""
        child, self._prepared = self._prepared, None
        if child is not None:
            child.kill()

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        child, self._prepared = self._prepared or _Child(self._reactor), None
        answer = await child.ask(request)
        if answer["error"] is not None:
            raise NetworkSetupError(answer["error"])
        return answer


def _is_up(interface: str) -> bool:
    """Whether an interface is administratively up. Raises OSError when there is none of that name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = _IFREQ.pack(interface.encode(), 0)
        flags: int = _IFREQ.unpack(fcntl.ioctl(asking, _SIOCGIFFLAGS, request))[1]
    return bool(flags & _IFF_UP)


class _Child(ProcessProtocol):
    """One child process: one request, one answer."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._output: list[bytes] = []
        self._errors: list[bytes] = []
        self._ended = False
        self._done: Deferred[dict[str, Any]] | None = None
        self._timeout: IDelayedCall | None = None
        # The child finds libraries where this process does, which packages bring along in a place of their own, and not
        # in the current directory.
        arguments = [sys.executable, "-P", str(_CHILD)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))}
        try:
            cast(IReactorProcess, reactor).spawnProcess(self, sys.executable, arguments, env=environment)
        except OSError as error:  # too many processes, no memory
            self._ended = True
            self._errors.append(str(error).encode())

    def ask(self, request: dict[str, Any]) -> Deferred[dict[str, Any]]:
        """Send the request. Fires with the answer, or fails with NetworkSetupError."""
        done: Deferred[dict[str, Any]] = Deferred()
        self._done = done
        if self._ended:
            self._finish()
        else:
            self._timeout = cast(IReactorTime, self._reactor).callLater(_TIMEOUT, self.kill)
            process = self._process()
            process.write(json.dumps(request).encode())
            process.closeStdin()
        return done

    def kill(self) -> None:
        """End the process if it runs."""
        if self._ended:
            return
        with suppress(ProcessExitedAlready):
            self._process().signalProcess("KILL")

    def _process(self) -> IProcessTransport:
        return cast(IProcessTransport, self.transport)

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        self._output.append(data)

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        self._errors.append(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self._ended = True
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        if self._done is not None:
            self._finish()

    def _finish(self) -> None:
        done, self._done = self._done, None
        assert done is not None
        try:
            done.callback(json.loads(b"".join(self._output)))
        except ValueError:
            last = b"".join(self._errors).decode(errors="replace").strip().rpartition("\n")[2]
            done.errback(NetworkSetupError(f"the network setup process failed: {last or 'it did not answer'}"))
