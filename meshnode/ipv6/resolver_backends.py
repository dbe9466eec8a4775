"""The ways to make a machine's resolver send `.fips` questions here (spec 02 section 14.4, 07 section 10).

Each backend finds out whether it suits the machine, installs itself and removes what it installed. Files of other
programs are left alone: what we write carries a marker, and only what carries it is removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from re import MULTILINE, escape
from re import compile as compile_pattern
from typing import Protocol

from meshnode.files import read_text, write_whole
from meshnode.ipv6.commands import Finished, Run
from meshnode.ipv6.files import MARKER, is_marked, remove_marked

_PROGRAM_DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")
_DELEGATES_SINCE = 258
_BLOCK_END = "# meshnode: end"
_VERSION = compile_pattern(rb"systemd (\d+)")
_SERVER_SETTING = compile_pattern(r"^\s*DNS\s*=\s*\S", MULTILINE)
_BLOCK = compile_pattern(rf"^{escape(MARKER)}(?:\r?\n|\Z)(?:nameserver.*\n)?(?:{_BLOCK_END}(?:\r?\n|\Z))?", MULTILINE)
_PORT = 53
_IN_MEMORY = "resolvectl"
_PID_PLACES = ("run/dnsmasq.pid", "run/dnsmasq/*.pid", "var/run/dnsmasq.pid", "var/run/dnsmasq/*.pid")


class Unsuitable(Exception):
    """This machine does not use what the backend configures; the text says what is missing."""


class BackendError(Exception):
    """The backend suits the machine but could not be installed or removed; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the responder can be asked. `plain` is an address on which it listens at port 53, if there is one."""

    address: str
    port: int
    interface: str
    plain: str | None = None

    @classmethod
    def of(cls, bound: Sequence[tuple[str, int]], interface: str) -> Target:
        """Make a target from the endpoints of a responder, the preferred one first; any-addresses become loopback."""
        usable = [(_askable(address), port) for address, port in bound]
        plain = next((address for address, port in usable if port == _PORT), None)
        return cls(*usable[0], interface, plain)

    @property
    def bracketed(self) -> str:
        """`[::1]:5354` or `127.0.0.1:5354`."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def hashed(self) -> str:
        """`::1#5354`, the notation of dnsmasq."""
        return f"{self.address}#{self.port}"


class Machine:
    """The system as the backends see it: files below `root`, commands through `run`."""

    def __init__(self, root: Path, run: Run) -> None:
        self.root = root
        self._run = run

    def path(self, name: str) -> Path:
        """Return where the absolute path `name` lies."""
        return self.root / name.lstrip("/")

    def program(self, name: str) -> str | None:
        """Return the absolute path of an installed program, or None; `name` may be an absolute path itself."""
        if name.startswith("/"):
            return name if self.path(name).exists() else None
        for directory in _PROGRAM_DIRECTORIES:
            if self.path(f"{directory}/{name}").exists():
                return f"{directory}/{name}"
        return None

    @property
    def systemd(self) -> bool:
        """Whether systemd manages the services of this machine."""
        return self.path("/run/systemd/system").is_dir() and self.program("systemctl") is not None

    async def call(self, name: str, *arguments: str) -> Finished:
        """Run an installed program; raise `Unsuitable` when it is not there."""
        program = self.program(name)
        if program is None:
            raise Unsuitable(f"{name} is not installed")
        return await self._run([program, *arguments])

    async def command(self, name: str, *arguments: str) -> None:
        """Run an installed program; raise `BackendError` when it fails."""
        status, _, errors = await self.call(name, *arguments)
        if status:
            lines = errors.decode(errors="replace").strip().splitlines() or [f"exit status {status}"]
            raise BackendError(f"`{name} {' '.join(arguments)}` failed: {lines[0]}")

    async def unit_active(self, unit: str) -> bool:
        """Ask systemd whether a unit is active."""
        return self.systemd and (await self.call("systemctl", "is-active", "--quiet", unit)).status == 0

    async def resolved_active(self) -> bool:
        """Tell whether systemd-resolved runs."""
        return self.path("/run/systemd/resolve").is_dir() and await self.unit_active("systemd-resolved")

    async def require_resolved(self) -> None:
        """Raise `Unsuitable` unless systemd-resolved runs."""
        if not await self.resolved_active():
            raise Unsuitable("systemd-resolved is not active")


class Backend(Protocol):
    """One way to configure a resolver."""

    @property
    def name(self) -> str:
        """The name in the record and in the configuration."""

    async def install(self, machine: Machine, target: Target) -> bool:
        """Install; True when there is something of ours to remove later, False when it was arranged already.

        Raises `Unsuitable` or `BackendError`; then nothing of ours is left behind.
        """

    async def remove(self, machine: Machine, interface: str) -> bool:
        """Remove what an earlier `install`, perhaps of a node that was killed, left; tell whether there was any."""


@dataclass(frozen=True, slots=True)
class DropIn:
    """A backend that is one file in the directory of a resolver, and a command that makes the resolver read it."""

    name: str
    file: str
    suits: Callable[[Machine], Awaitable[None]]
    lines: Callable[[Target], list[str]]
    reload: Callable[[Machine], Awaitable[None]]

    async def install(self, machine: Machine, target: Target) -> bool:
        """Write the file and reload; an equal file written by somebody else is good enough."""
        await self.suits(machine)
        lines = self.lines(target)
        path = machine.path(self.file)
        try:
            existing = read_text(path)
            if existing is not None and not is_marked(path):
                if set(lines) <= set(existing.splitlines()):
                    return False
                raise BackendError(f"{self.file} exists and was not written by meshnode")
            _make_public(path.parent)
            write_whole(path, "\n".join([MARKER, *lines, ""]))
        except OSError as error:
            raise BackendError(f"cannot write {self.file}: {error.strerror}") from None
        try:
            await self.reload(machine)
        except BackendError:
            await self._remove_quietly(machine)
            raise
        return True

    async def remove(self, machine: Machine, interface: str) -> bool:
        """Remove the file if it is ours, then reload."""
        try:
            if not remove_marked(machine.path(self.file)):
                return False
        except OSError as error:
            raise BackendError(f"cannot remove {self.file}: {error.strerror}") from None
        await self.reload(machine)
        return True

    async def _remove_quietly(self, machine: Machine) -> None:
        """Take a failed installation back; the first error is the one worth telling."""
        try:
            await self.remove(machine, "")
        except BackendError:
            return


@dataclass(frozen=True, slots=True)
class Resolvectl:
    """A name server and a routing domain for the TUN, kept by systemd-resolved in memory."""

    name: str = _IN_MEMORY

    async def install(self, machine: Machine, target: Target) -> bool:
        """Set server and domain of the interface."""
        await machine.require_resolved()
        if machine.program("resolvectl") is None:
            raise Unsuitable("resolvectl is not installed")
        await machine.command("resolvectl", "dns", target.interface, target.bracketed)
        try:
            await machine.command("resolvectl", "domain", target.interface, "~fips")
        except BackendError:
            await machine.call("resolvectl", "revert", target.interface)
            raise
        return True

    async def remove(self, machine: Machine, interface: str) -> bool:
        """Forget the settings of the interface, which are gone already when the interface is."""
        if not machine.path(f"/sys/class/net/{interface}").exists() or machine.program("resolvectl") is None:
            return False
        await machine.command("resolvectl", "revert", interface)
        return True


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """Our address as first name server of `/etc/resolv.conf`: opt-in, for machines that have no other resolver.

    The servers named before stay below ours, so the machine still resolves names should this program die; the responder
    has to forward what is not `.fips`.
    """

    name: str = "resolv-conf"
    file: str = "/etc/resolv.conf"

    async def install(self, machine: Machine, target: Target) -> bool:
        """Put a marked block before what the file says now."""
        if target.plain is None:
            raise BackendError(f"{self.file} can name only servers on port {_PORT}, and the responder has none there")
        path = machine.path(self.file)
        if path.is_symlink():
            raise BackendError(f"{self.file} is a link to {path.readlink()}, which belongs to another program")
        block = "\n".join([MARKER, f"nameserver {target.plain}", _BLOCK_END, ""])
        try:
            write_whole(path, block + without_block(read_text(path) or ""))
        except OSError as error:
            raise BackendError(f"cannot write {self.file}: {error.strerror}") from None
        return True

    async def remove(self, machine: Machine, interface: str) -> bool:
        """Cut our block out again, whatever else has changed in the file."""
        path = machine.path(self.file)
        try:
            text = read_text(path) or ""
            if MARKER not in text.splitlines() or path.is_symlink():
                return False
            write_whole(path, without_block(text))
        except OSError as error:
            raise BackendError(f"cannot write {self.file}: {error.strerror}") from None
        return True


def _make_public(directory: Path) -> None:
    """Make a directory that is missing, for all to read whatever our umask is: resolvers are users of their own."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir()
        one.chmod(0o755)


def without_block(text: str) -> str:
    """Return the text of a resolv.conf without our block."""
    return _BLOCK.sub("", text)


def name_servers(text: str) -> list[str]:
    """Return the IP addresses that a resolv.conf names as servers, ours left out, in order."""
    found = []
    for line in without_block(text).splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == "nameserver" and _is_address(fields[1]):
            found.append(fields[1])
    return found


async def _delegates(machine: Machine) -> None:
    await machine.require_resolved()
    version = _VERSION.match((await machine.call("systemctl", "--version")).output)
    if version is None or int(version[1]) < _DELEGATES_SINCE:
        raise Unsuitable(f"systemd is older than {_DELEGATES_SINCE}")


async def _resolved_without_servers(machine: Machine) -> None:
    """Suit resolved unless it has global servers already: it asks one of them at a time, so ours would get lost or,
    worse, answer for the whole Internet."""
    await machine.require_resolved()
    for path in _configuration_files(machine, "systemd/resolved.conf", "systemd/resolved.conf.d"):
        if path.name != "fips.conf" and _SERVER_SETTING.search(_text(path)):
            raise Unsuitable(f"systemd-resolved has global servers of its own ({path.name})")


async def _dnsmasq(machine: Machine) -> None:
    if not machine.path("/etc/dnsmasq.d").is_dir():
        raise Unsuitable("there is no /etc/dnsmasq.d")
    if machine.systemd:
        active = await machine.unit_active("dnsmasq")
    else:
        active = any(_running(machine, file) for place in _PID_PLACES for file in machine.root.glob(place))
    if not active:
        raise Unsuitable("dnsmasq is not running")


async def _network_manager(machine: Machine) -> None:
    if not machine.path("/run/NetworkManager").is_dir() or machine.program("nmcli") is None:
        raise Unsuitable("NetworkManager is not running")
    if machine.systemd and not await machine.unit_active("NetworkManager"):
        raise Unsuitable("NetworkManager is not running")
    files = _configuration_files(machine, "NetworkManager/NetworkManager.conf", "NetworkManager/conf.d")
    if (list(filter(None, (_main_dns(_text(path)) for path in files))) or [""])[-1] != "dnsmasq":
        raise Unsuitable("NetworkManager does not run a dnsmasq")


async def _restart_resolved(machine: Machine) -> None:
    await machine.command("systemctl", "restart", "systemd-resolved")


async def _restart_dnsmasq(machine: Machine) -> None:
    """Restart: on a mere reload dnsmasq does not read its drop-in directory again."""
    if machine.systemd:
        await machine.command("systemctl", "restart", "dnsmasq")
    elif machine.path("/etc/init.d/dnsmasq").exists():
        await machine.command("/etc/init.d/dnsmasq", "restart")
    else:
        raise BackendError("nothing here can restart dnsmasq")


async def _reload_network_manager(machine: Machine) -> None:
    await machine.command("nmcli", "general", "reload")


def _dnsmasq_lines(target: Target) -> list[str]:
    return [f"server=/fips/{target.hashed}", "rebind-domain-ok=/fips/"]


AUTOMATIC: tuple[Backend, ...] = (
    DropIn(
        "dns-delegate",
        "/etc/systemd/dns-delegate.d/fips.dns-delegate",
        _delegates,
        lambda target: ["[Delegate]", f"DNS={target.bracketed}", "Domains=fips"],
        _restart_resolved,
    ),
    DropIn(
        "global-drop-in",
        "/etc/systemd/resolved.conf.d/fips.conf",
        _resolved_without_servers,
        lambda target: ["[Resolve]", f"DNS={target.bracketed}", "Domains=~fips"],
        _restart_resolved,
    ),
    Resolvectl(),
    DropIn("dnsmasq", "/etc/dnsmasq.d/fips.conf", _dnsmasq, _dnsmasq_lines, _restart_dnsmasq),
    DropIn(
        "nm-dnsmasq",
        "/etc/NetworkManager/dnsmasq.d/fips.conf",
        _network_manager,
        _dnsmasq_lines,
        _reload_network_manager,
    ),
)
"""The backends that are tried without being asked for, in order."""

ALL: dict[str, Backend] = {backend.name: backend for backend in (*AUTOMATIC, ResolvConf())}
"""Every backend by name."""

IN_FILES = tuple(name for name in ALL if name != _IN_MEMORY)
"""Names of the backends whose leftovers can be recognised without a record."""


def _configuration_files(machine: Machine, main: str, directory: str) -> Iterator[Path]:
    """Yield a program's configuration files in the order in which later ones override earlier ones."""
    for place in ("/usr/lib", "/run", "/etc"):
        yield machine.path(f"{place}/{main}")
        yield from sorted(machine.path(f"{place}/{directory}").glob("*.conf"))


def _main_dns(text: str) -> str | None:
    """Return what a NetworkManager file says under `[main] dns=`, or None."""
    section, found = "", None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        key, separator, value = line.partition("=")
        if section == "[main]" and separator and key.strip() == "dns":
            found = value.strip()
    return found


def _text(path: Path) -> str:
    try:
        return read_text(path) or ""
    except OSError:
        return ""


def _running(machine: Machine, pid_file: Path) -> bool:
    pid = _text(pid_file).strip()
    return pid.isdigit() and machine.path(f"/proc/{pid}").exists()


def _askable(address: str) -> str:
    return {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(address, address)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
