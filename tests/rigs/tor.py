"""A private Tor network: authorities and relays on one host, a client beside each node. Needs Debian's package `tor`.

All relays are said to have the same bandwidth. Left to themselves they measure it, and whichever is first gets all the
circuits, in every place of them, which relays refuse.

The authorities' long-term keys are the slow part (up to ten seconds of computing each), so they are kept under .venv.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.rigs import processes
from tests.rigs.hosts import Host
from tests.rigs.nodes import ROOT
from tests.rigs.waiting import wait_until

AUTHORITIES = 3  # with one alone clients never get going
RELAYS = 6  # authorities carry nothing, and with fewer, circuits to onion services find too few different relays
_PORTS = [(5001, 7001), (5002, 7002), (5003, 7003)]
KEYS = ROOT / ".venv" / "tor-keys"
PROGRAMS = ("tor", "tor-gencert")

_COMMON = """\
DataDirectory {directory}
Log notice file {directory}/log
SafeLogging 0
TestingTorNetwork 1
AssumeReachable 1
EnforceDistinctSubnets 0
PathsNeededToBuildCircuits 0.25
TestingClientDownloadInitialDelay 0
TestingClientConsensusDownloadInitialDelay 0
ClientBootstrapConsensusAuthorityDownloadInitialDelay 0
ClientBootstrapConsensusFallbackDownloadInitialDelay 0
ClientBootstrapConsensusAuthorityOnlyDownloadInitialDelay 0
TestingServerDownloadInitialDelay 0
TestingServerConsensusDownloadInitialDelay 0
{authorities}
"""
_RELAY = """\
Nickname {name}
Address {address}
ORPort {address}:{or_port}
SocksPort 0
ContactInfo none
ExitRelay 1
ExitPolicy accept *:*
ExitPolicyRejectPrivate 0
ServerDNSDetectHijacking 0
ServerDNSTestAddresses
NumCPUs 1
"""
_AUTHORITY = """\
DirPort {address}:{dir_port}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
TestingDirAuthVoteExit *
TestingDirAuthVoteHSDir *
TestingDirAuthVoteGuard *
TestingMinExitFlagThreshold 0
TestingAuthDirTimeToLearnReachability 0
MinUptimeHidServDirectoryV2 0
V3BandwidthsFile {bandwidths}
TestingV3AuthInitialVotingInterval 10
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 20
V3AuthVoteDelay 2
V3AuthDistDelay 2
ConsensusParams hsdir_interval=1440
"""
_CLIENT = """\
ClientOnly 1
SocksPort 127.0.0.1:9050 IsolateSOCKSAuth
ControlPort 127.0.0.1:9051
ControlSocket {directory}/control
CookieAuthentication 1
CookieAuthFile {directory}/cookie
HashedControlPassword {password}
"""
PASSWORD = 'with "quotes" and \\ inside'


def missing() -> list[str]:
    """Programs of the package that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass
class TorClient:
    """One Tor for one node. It may be stopped and started again; an onion service of its own keeps its name."""

    network: TorNetwork
    host: Host
    virtual_port: int | None = None
    target: str = ""
    process: subprocess.Popen[str] | None = None
    _questions: int = 0

    @property
    def directory(self) -> Path:
        return self.network.directory / self.host.name

    @property
    def control_socket(self) -> Path:
        return self.directory / "control"

    @property
    def cookie(self) -> Path:
        return self.directory / "cookie"

    @property
    def hostname_file(self) -> Path:
        return self.directory / "onion" / "hostname"

    @property
    def hostname(self) -> str:
        return self.hostname_file.read_text().strip()

    def start(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        hidden = ""
        if self.virtual_port is not None:
            (self.directory / "onion").mkdir(mode=0o700, exist_ok=True)
            hidden = f"HiddenServiceDir {self.directory}/onion\n"
            hidden += f"HiddenServicePort {self.virtual_port} {self.target}\n"
        text = _CLIENT.format(directory=self.directory, password=self.network.hashed_password())
        torrc = self.network.common(self.directory) + text + hidden
        self.process = self.network.run(self.host, self.directory, torrc)

    def stop(self) -> None:
        if self.process is not None:
            processes.kill(self.process)
            self.process = None

    def info(self, key: str) -> str:
        """The answer of the control port to one GETINFO; empty while there is none."""
        try:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(5.0)
                stream.connect(str(self.control_socket))
                lines = f"AUTHENTICATE {self.cookie.read_bytes().hex()}\r\nGETINFO {key}\r\nQUIT\r\n"
                stream.sendall(lines.encode())
                return b"".join(iter(lambda: stream.recv(65536), b"")).decode(errors="replace")
        except OSError:
            return ""

    def is_ready(self) -> bool:
        """Whether circuits can be built."""
        return "circuit-established=1" in self.info("status/circuit-established")

    def reaches(self, onion: str, port: int, patience: float = 10.0) -> bool:
        """Whether an onion service answers, be it that nobody listens behind it; every question over new circuits."""
        self._questions += 1
        password, name = f"probe {self._questions}".encode(), onion.encode()
        with self.host.socket(socket.AF_INET) as stream:
            stream.settimeout(patience)
            try:
                stream.connect(("127.0.0.1", 9050))
                stream.sendall(b"\x05\x01\x02")
                stream.recv(2)
                stream.sendall(b"\x01\x04test" + bytes([len(password)]) + password)
                stream.recv(2)
                stream.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
                reply = stream.recv(10)
            except OSError:
                return False
        return len(reply) > 1 and reply[1] in (0, 1, 5)

    def has_published(self) -> bool:
        """Whether the onion service in this Tor's configuration can be found by others."""
        return self.hostname_file.exists() and "hs-descriptor" in self.info(
            f"hs/service/desc/id/{self.hostname.removesuffix('.onion')}"
        )


class TorNetwork:
    """Authorities on `host`, which has `address`."""

    def __init__(self, directory: Path, host: Host, address: str) -> None:
        self.directory = directory
        self.address = address
        self.clients: list[TorClient] = []
        self._password = ""
        directory.mkdir(mode=0o700)
        (directory / "empty").write_text("")  # Tor refuses /dev/null as a configuration file
        names = [f"authority{number}" for number in range(AUTHORITIES)]
        relays = {f"relay{number}": 5100 + number for number in range(RELAYS)}
        with ThreadPoolExecutor(AUTHORITIES) as pool:
            self._authorities = "\n".join(pool.map(self._introduce, names, _PORTS))
            prints = list(pool.map(self._fingerprint, relays, relays.values()))
        bandwidths = directory / "bandwidths"
        rows = [f"node_id=${fingerprint} bw=1000" for fingerprint in prints]
        bandwidths.write_text("\n".join([str(int(time.time())), *rows]) + "\n")
        for name, (or_port, dir_port) in zip(names, _PORTS, strict=True):
            more = _AUTHORITY.format(address=address, dir_port=dir_port, bandwidths=bandwidths)
            self._relay(host, name, or_port, more)
        for name, or_port in relays.items():
            self._relay(host, name, or_port)

    def _relay(self, host: Host, name: str, or_port: int, more: str = "") -> None:
        directory = self.directory / name
        directory.mkdir(mode=0o700, exist_ok=True)
        text = _RELAY.format(name=name, address=self.address, or_port=or_port)
        self.run(host, directory, self.common(directory) + text + more)

    def client(self, host: Host, virtual_port: int | None = None, target: str = "") -> TorClient:
        """Start a Tor beside a node, with an onion service that Tor keeps itself if a port and its target are given.

        A client that starts with a list in which relays are missing keeps for up to a minute to the few it got. So
        the first one waits.
        """
        wait_until(self._lists_everybody, 60, "the authorities list every relay", interval=0.2)
        client = TorClient(self, host, virtual_port, target)
        client.start()
        self.clients.append(client)
        return client

    def wait_ready(self, deadline: float = 90.0) -> float:
        """Return once every client can build circuits and can be found; the value is how long that took."""
        begin = time.monotonic()
        for client in self.clients:
            wait_until(client.is_ready, deadline, f"the Tor of {client.host.name} has circuits", interval=0.2)
            if client.virtual_port is not None:
                wait_until(
                    client.has_published, deadline, f"the onion of {client.host.name} is published", interval=0.2
                )
        return time.monotonic() - begin

    def _lists_everybody(self) -> bool:
        try:
            consensus = (self.directory / "authority0" / "cached-microdesc-consensus").read_text()
        except FileNotFoundError:
            return False
        return consensus.count("\nw Bandwidth=1000\n") == RELAYS

    def common(self, directory: Path) -> str:
        return _COMMON.format(directory=directory, authorities=self._authorities)

    def own_tor(self) -> Path:
        """A file that makes a Tor that somebody else starts part of this network."""
        path = self.directory / "own-torrc"
        lines = [line for line in self.common(Path("/")).splitlines() if not line.startswith(("DataDirectory", "Log "))]
        path.write_text("\n".join(lines) + "\n")
        return path

    def hashed_password(self) -> str:
        if not self._password:
            done = self._tool("tor", "--quiet", "--hash-password", PASSWORD)
            self._password = done.splitlines()[-1]
        return self._password

    def run(self, host: Host, directory: Path, torrc: str) -> subprocess.Popen[str]:
        path = directory / "torrc"
        path.write_text(torrc)
        command = ["tor", "-f", str(path), "--defaults-torrc", str(self.directory / "empty")]
        with (directory / "output").open("a") as output:
            return host.start(command, output=output)

    def _tool(self, *command: str, cwd: Path | None = None, given: str | None = None) -> str:
        done = subprocess.run(command, cwd=cwd, input=given, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    def _introduce(self, name: str, ports: tuple[int, int]) -> str:
        """Give one authority its keys; returns the line by which everybody knows it."""
        directory, kept = self.directory / name, KEYS / name
        (directory / "keys").mkdir(parents=True, mode=0o700)
        directory.chmod(0o700)
        kept.mkdir(parents=True, mode=0o700, exist_ok=True)
        if not (kept / "authority_certificate").exists():
            making = ["tor-gencert", "--create-identity-key", "-m", "12", "--passphrase-fd", "0"]
            self._tool(*making, cwd=kept, given="test\n")
        for item in ("authority_certificate", "authority_signing_key"):
            shutil.copy(kept / item, directory / "keys" / item)
        certificate = (kept / "authority_certificate").read_text().splitlines()
        (identity,) = [line.split()[1] for line in certificate if line.startswith("fingerprint ")]
        or_port, dir_port = ports
        return (
            f"DirAuthority {name} orport={or_port} no-v2 v3ident={identity} {self.address}:{dir_port} "
            f"{self._fingerprint(name, or_port)}"
        )

    def _fingerprint(self, name: str, or_port: int) -> str:
        directory = self.directory / name
        directory.mkdir(mode=0o700, exist_ok=True)
        empty = str(self.directory / "empty")
        options = ["-f", empty, "--defaults-torrc", empty, "--list-fingerprint", "--DataDirectory", str(directory)]
        options += ["--ORPort", f"127.0.0.1:{or_port}", "--Nickname", name, "--SocksPort", "0", "--Log", "err stderr"]
        options += ["--TestingTorNetwork", "1", "--DirAuthority", f"x 127.0.0.1:1 {'f' * 40}"]
        return "".join(self._tool("tor", *options).splitlines()[-1].split()[1:])
