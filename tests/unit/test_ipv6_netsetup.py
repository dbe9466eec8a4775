"""Interface setup without a kernel: the conversation with the child process, and what the child says of refusals."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshnode.ipv6 import _netsetup_child as child
from meshnode.ipv6 import netsetup
from meshnode.ipv6.netsetup import NetworkSetup, NetworkSetupError, check_ipv6_enabled

ADDRESS = b"\xfd" + bytes(14) + b"\x01"


class Process:
    """A child process as its protocol sees it."""

    def __init__(self, protocol: Any, arguments: list[str]) -> None:
        self.protocol = protocol
        self.arguments = arguments
        self.request = b""
        self.signals: list[str] = []
        self.stdin_open = self.running = True

    def write(self, data: bytes) -> None:
        self.request += data

    def closeStdin(self) -> None:
        self.stdin_open = False

    def signalProcess(self, name: str) -> None:
        if not self.running:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, output: bytes = b"", errors: bytes = b"") -> None:
        self.running = False
        self.protocol.outReceived(output)
        self.protocol.errReceived(errors)
        self.protocol.processEnded(Failure(ProcessDone(0)))


class Reactor(Clock):
    """A clock that also starts processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.refusal: OSError | None = None

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        process = Process(protocol, args)
        protocol.transport = process
        self.processes.append(process)


class Setup:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.is_led_here = True
        self.setup = NetworkSetup(self.reactor, is_led_here=lambda _address: self.is_led_here)

    def start(self, work: Coroutine[Any, Any, None]) -> list[object]:
        """Where the outcome will be: None or a text."""
        outcome: list[object] = []
        deferred = Deferred.fromCoroutine(work)
        deferred.addErrback(lambda failure: str(failure.trap(NetworkSetupError) and failure.value))
        deferred.addCallback(outcome.append)
        return outcome

    def configure(self) -> list[object]:
        return self.start(self.setup.configure("fips0", ADDRESS, 1280))


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(netsetup, "check_ipv6_enabled", lambda: None)
    return Setup()


def answer(error: str | None = None, rule_added: bool = False) -> bytes:
    return json.dumps({"error": error, "rule_added": rule_added}).encode()


def test_the_child_is_told_what_to_do(setup: Setup) -> None:
    outcome = setup.configure()
    (process,) = setup.reactor.processes
    assert json.loads(process.request) == {"do": "configure", "name": "fips0", "address": "fd00::1", "mtu": 1280}
    assert not process.stdin_open
    assert outcome == []
    process.end(answer())
    assert outcome == [None]
    assert setup.reactor.getDelayedCalls() == []


def test_a_prepared_child_is_used(setup: Setup) -> None:
    setup.setup.prepare()
    setup.setup.prepare()
    (process,) = setup.reactor.processes
    assert process.request == b""
    outcome = setup.configure()
    process.end(answer())
    assert (len(setup.reactor.processes), outcome) == (1, [None])


def test_a_prepared_child_that_is_not_needed_is_ended(setup: Setup) -> None:
    setup.setup.prepare()
    setup.setup.cancel()
    assert setup.reactor.processes[0].signals == ["KILL"]


def test_a_prepared_child_that_died_early_is_an_error(setup: Setup) -> None:
    setup.setup.prepare()
    setup.reactor.processes[0].end(errors=b"Traceback ...\nImportError: no such thing\n")
    assert setup.configure() == ["the network setup process failed: ImportError: no such thing"]


def test_the_error_of_the_child_is_ours(setup: Setup) -> None:
    outcome = setup.configure()
    setup.reactor.processes[0].end(answer("cannot do it: because"))
    assert outcome == ["cannot do it: because"]


def test_a_child_that_hangs_is_killed(setup: Setup) -> None:
    outcome = setup.configure()
    (process,) = setup.reactor.processes
    setup.reactor.advance(10.1)
    assert process.signals == [signal.SIGKILL.name[3:]]
    process.end()
    assert outcome == ["the network setup process failed: it did not answer"]


def test_only_our_own_rule_is_removed(setup: Setup) -> None:
    setup.configure()
    setup.reactor.processes[0].end(answer(rule_added=False))
    assert setup.start(setup.setup.remove()) == [None]
    assert len(setup.reactor.processes) == 1


def test_our_rule_is_removed_although_it_was_there_for_a_later_interface(setup: Setup) -> None:
    for number, added in enumerate((True, False)):
        setup.configure()
        setup.reactor.processes[number].end(answer(rule_added=added))
    setup.start(setup.setup.remove())
    assert json.loads(setup.reactor.processes[2].request) == {"do": "remove_rule"}


def test_a_system_that_starts_no_process_is_an_error_and_can_be_asked_again(setup: Setup) -> None:
    setup.reactor.refusal = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    setup.setup.prepare()
    said = "the network setup process failed: [Errno 11] Resource temporarily unavailable"
    assert setup.configure() == [said]
    assert setup.configure() == [said]
    setup.reactor.refusal = None
    outcome = setup.configure()
    setup.reactor.processes[0].end(answer())
    assert outcome == [None]


def test_our_rule_is_removed_once(setup: Setup) -> None:
    setup.configure()
    setup.reactor.processes[0].end(answer(rule_added=True))
    outcome = setup.start(setup.setup.remove())
    assert json.loads(setup.reactor.processes[1].request) == {"do": "remove_rule"}
    setup.reactor.processes[1].end(answer())
    assert outcome == [None]
    assert setup.start(setup.setup.remove()) == [None]
    assert len(setup.reactor.processes) == 2


def test_without_ipv6_no_child_is_asked(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def disabled() -> None:
        raise NetworkSetupError("IPv6 is disabled")

    monkeypatch.setattr(netsetup, "check_ipv6_enabled", disabled)
    setup.setup.prepare()
    assert setup.configure() == ["IPv6 is disabled"]
    assert setup.reactor.processes[0].signals == ["KILL"]
    assert setup.reactor.processes[0].request == b""


def test_what_somebody_took_from_the_interface_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses, is_up = tmp_path / "if_inet6", True

    def flags(name: str) -> bool:
        if name != "fips0":
            raise OSError(errno.ENODEV, "No such device")
        return is_up

    monkeypatch.setattr(netsetup, "_is_up", flags)
    network = NetworkSetup(Reactor(), addresses)
    own = f"{ADDRESS.hex()} 05 80 00 80    fips0\n"
    addresses.write_text(f"{bytes(15).hex()}01 01 80 10 80       lo\n{own}")
    assert network.lack("fips0", ADDRESS) is None
    assert "removed or renamed" in str(network.lack("fips1", ADDRESS))
    addresses.write_text(own.replace("fips0", "eth0"))
    assert "lost its address" in str(network.lack("fips0", ADDRESS))
    addresses.unlink()
    assert "all of IPv6 is gone" in str(network.lack("fips0", ADDRESS))
    is_up = False
    assert "down" in str(network.lack("fips0", ADDRESS))


@pytest.mark.parametrize("at_first", [True, False])
def test_a_lost_route_is_told_where_there_was_one(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_first: bool
) -> None:
    addresses = tmp_path / "if_inet6"
    addresses.write_text(f"{ADDRESS.hex()} 05 80 00 80    fips0\n")
    monkeypatch.setattr(netsetup, "_is_up", lambda name: True)
    setup.setup = NetworkSetup(setup.reactor, addresses, lambda _address: setup.is_led_here)
    setup.is_led_here = at_first
    outcome = setup.configure()
    setup.reactor.processes[0].end(answer())
    assert outcome == [None]
    assert setup.setup.lack("fips0", ADDRESS) is None
    setup.is_led_here = False
    assert ("took its route away" in str(setup.setup.lack("fips0", ADDRESS))) is at_first


def test_the_ipv6_switch_is_obeyed(tmp_path: Path) -> None:
    switch = tmp_path / "disable_ipv6"
    with pytest.raises(NetworkSetupError, match="the kernel has no IPv6"):
        check_ipv6_enabled(switch)
    switch.write_text("1\n")
    with pytest.raises(NetworkSetupError, match="IPv6 is disabled: sysctl"):
        check_ipv6_enabled(switch)
    switch.write_text("0\n")
    check_ipv6_enabled(switch)


class Refusal(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Route:
    """Stands in for pyroute2's IPRoute: refuses what the test says."""

    def __init__(self, refusals: dict[str, int]) -> None:
        self.refusals = refusals
        self.done: list[str] = []

    def __getattr__(self, method: str) -> Any:
        def call(command: str, **parameters: Any) -> None:
            if method in self.refusals:
                raise Refusal(self.refusals[method])
            self.done.append(f"{method} {command}")

        return call


class FakeErrors:
    NetlinkError = Refusal


def kernel(**refusals: int) -> child.Kernel:
    class Module:
        IPRoute = staticmethod(lambda: Route(refusals))

    return child.Kernel(Module, FakeErrors)


class TestChild:
    def test_everything_is_set_in_order(self) -> None:
        it = kernel()
        assert child.configure(it, "lo", "fd00::1", 1280)
        assert it.route.done == ["link set", "addr add", "link set", "route add", "rule add"]

    def test_a_rule_that_is_there_is_no_error(self) -> None:
        assert not child.configure(kernel(rule=errno.EEXIST), "lo", "fd00::1", 1280)

    @pytest.mark.parametrize(
        ("method", "code", "text"),
        [
            ("link", errno.EPERM, "cannot set the MTU of lo to 1280: CAP_NET_ADMIN is missing: run as root"),
            ("link", errno.EINVAL, "change tun.mtu"),
            ("addr", errno.EACCES, "cannot add address fd00::1 to lo: IPv6 is disabled on new interfaces"),
            ("route", errno.EEXIST, "cannot route fd00::/8 to lo: another interface has it already"),
            ("route", errno.ENOMEM, "cannot route fd00::/8 to lo: Cannot allocate memory"),
        ],
    )
    def test_refusals_have_a_cause_and_a_remedy(self, method: str, code: int, text: str) -> None:
        with pytest.raises(child.SetupError, match=text):
            child.configure(kernel(**{method: code}), "lo", "fd00::1", 1280)

    def test_a_missing_interface_is_named(self) -> None:
        with pytest.raises(child.SetupError, match="interface no-such-one does not exist"):
            child.configure(kernel(), "no-such-one", "fd00::1", 1280)
