"""Arranging and undoing the system resolver, on a machine made of a directory and a command table."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Awaitable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from meshnode.ipv6.commands import Finished
from meshnode.ipv6.files import MARKER
from meshnode.ipv6.resolver import AUTO, MODES, NONE, Outcome, SystemResolver, upstream_servers
from meshnode.ipv6.resolver_backends import name_servers, without_block

T = TypeVar("T")
DELEGATE = "etc/systemd/dns-delegate.d/fips.dns-delegate"
GLOBAL = "etc/systemd/resolved.conf.d/fips.conf"
DNSMASQ = "etc/dnsmasq.d/fips.conf"
NM_DNSMASQ = "etc/NetworkManager/dnsmasq.d/fips.conf"
RESOLV_CONF = "etc/resolv.conf"
RECORD = "run/meshnode/resolver.json"
FILE_BACKENDS = {"dns-delegate": DELEGATE, "global-drop-in": GLOBAL, "dnsmasq": DNSMASQ, "nm-dnsmasq": NM_DNSMASQ}
US, THEM = 4242, 777


def done(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of something that needs nothing but what the fakes give at once."""
    results: list[T] = []
    Deferred.fromCoroutine(work).addCallbacks(results.append, lambda failure: failure.raiseException())
    return results[0]


class FakeMachine:
    """A root directory, and programs that succeed unless they are told not to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []
        self.failing: set[str] = set()
        self.version = 255
        self.start_process(US)

    def run(self, arguments: Sequence[str]) -> Awaitable[Finished]:
        command = " ".join([Path(arguments[0]).name, *arguments[1:]])
        self.commands.append(command)
        return self._finish(command)

    async def _finish(self, command: str) -> Finished:
        if command == "systemctl --version":
            return Finished(0, b"systemd %d (%d.1-1)\n+PAM\n" % (self.version, self.version), b"")
        if any(command.startswith(failing) for failing in self.failing):
            return Finished(1, b"", b"it broke\nbadly\n")
        return Finished(0, b"", b"")

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str | None:
        path = self.root / name
        return path.read_text() if path.exists() else None

    def start_process(self, pid: int, started: int = 1000) -> None:
        self.write(f"proc/{pid}/stat", f"{pid} (a name) with) S " + " ".join(["0"] * 18) + f" {started} 0 0")

    def with_resolved(self, version: int = 255) -> None:
        self.version = version
        (self.root / "run/systemd/system").mkdir(parents=True)
        (self.root / "run/systemd/resolve").mkdir(parents=True)
        self.write("usr/bin/systemctl")
        self.write("usr/bin/resolvectl")

    def with_dnsmasq(self, systemd: bool = True) -> None:
        (self.root / "etc/dnsmasq.d").mkdir(parents=True)
        if systemd:
            (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
            self.write("usr/bin/systemctl")
        else:
            self.write("etc/init.d/dnsmasq")
            self.write("var/run/dnsmasq/dnsmasq.cfg01.pid", "99\n")
            self.start_process(99)

    def with_network_manager(self) -> None:
        (self.root / "run/NetworkManager").mkdir(parents=True)
        self.write("usr/bin/nmcli")
        self.write(
            "etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\ndns = dnsmasq\n[other]\ndns=no\n"
        )

    def resolver(
        self, *bound: tuple[str, int], mode: str = AUTO, owner: str | None = f"{US}:1000", interface: str = "fips0"
    ) -> SystemResolver:
        endpoints = bound or (("::1", 5354),)
        return SystemResolver(endpoints, interface, self.run, mode, self.root, f"/{RECORD}", owner)

    def configure(self, *bound: tuple[str, int], mode: str = AUTO) -> Outcome:
        return done(self.resolver(*bound, mode=mode).configure())


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def arrange(machine: FakeMachine, backend: str) -> None:
    """Make `machine` one for which `backend` is the first that applies."""
    if backend == "dns-delegate":
        machine.with_resolved(258)
    elif backend == "global-drop-in":
        machine.with_resolved(257)
    elif backend == "dnsmasq":
        machine.with_dnsmasq()
    else:
        machine.with_network_manager()


def test_a_machine_with_no_resolver_gets_one_line_and_runs_no_command(machine: FakeMachine) -> None:
    outcome = machine.configure()
    assert outcome.backend == NONE
    assert "\n" not in outcome.message
    ours, theirs = "meshnode: {resolver: resolv-conf}", "dnsmasq --server=/fips/::1#5354"
    assert 0 < outcome.message.find(ours) < outcome.message.find(theirs)
    assert machine.commands == []
    assert machine.read(RECORD) is None


@pytest.mark.parametrize(
    ("backend", "lines", "reload"),
    [
        ("dns-delegate", ["[Delegate]", "DNS=[::1]:5354", "Domains=fips"], "systemctl restart systemd-resolved"),
        ("global-drop-in", ["[Resolve]", "DNS=[::1]:5354", "Domains=~fips"], "systemctl restart systemd-resolved"),
        ("dnsmasq", ["server=/fips/::1#5354", "rebind-domain-ok=/fips/"], "systemctl restart dnsmasq"),
        ("nm-dnsmasq", ["server=/fips/::1#5354", "rebind-domain-ok=/fips/"], "nmcli general reload"),
    ],
)
def test_a_drop_in_is_written_read_by_the_resolver_recorded_and_undone(
    machine: FakeMachine, backend: str, lines: list[str], reload: str
) -> None:
    arrange(machine, backend)
    resolver = machine.resolver()
    outcome = done(resolver.configure())
    assert outcome.backend == backend
    assert machine.read(FILE_BACKENDS[backend]) == "\n".join([MARKER, *lines, ""])
    assert machine.commands[-1] == reload
    assert json.loads(machine.read(RECORD) or "")["backend"] == backend
    machine.commands.clear()
    assert done(resolver.undo()) is None
    assert machine.read(FILE_BACKENDS[backend]) is None
    assert machine.commands == [reload]
    assert machine.read(RECORD) is None


def test_a_resolver_that_is_another_user_can_read_its_drop_in(machine: FakeMachine) -> None:
    """The unit's umask keeps what the node writes from others."""
    file = machine.root / GLOBAL.lstrip("/")
    arrange(machine, "global-drop-in")
    before = os.umask(0o027)
    try:
        assert done(machine.resolver().configure()).backend == "global-drop-in"
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (file.parent, file)] == [0o755, 0o644]


def test_what_is_tried_first_wins_alone(machine: FakeMachine) -> None:
    machine.with_resolved(300)
    machine.with_dnsmasq()
    machine.with_network_manager()
    assert machine.configure().backend == "dns-delegate"
    assert [name for name, file in FILE_BACKENDS.items() if machine.read(file)] == ["dns-delegate"]


@pytest.mark.parametrize(
    ("bound", "systemd", "dnsmasq"),
    [
        (("127.0.0.1", 5400), "127.0.0.1:5400", "127.0.0.1#5400"),
        (("::", 5354), "[::1]:5354", "::1#5354"),
        (("0.0.0.0", 53), "127.0.0.1:53", "127.0.0.1#53"),
    ],
)
def test_the_real_address_and_port_of_the_responder_are_named(
    tmp_path: Path, bound: tuple[str, int], systemd: str, dnsmasq: str
) -> None:
    first, second = FakeMachine(tmp_path / "a"), FakeMachine(tmp_path / "b")
    first.with_resolved()
    second.with_dnsmasq()
    first.configure(bound)
    second.configure(bound)
    assert f"DNS={systemd}\n" in (first.read(GLOBAL) or "")
    assert f"server=/fips/{dnsmasq}\n" in (second.read(DNSMASQ) or "")


def test_resolved_with_global_servers_of_its_own_is_told_about_the_interface_instead(machine: FakeMachine) -> None:
    machine.with_resolved()
    machine.write("etc/systemd/resolved.conf", "[Resolve]\n#DNS=\nDNS=192.0.2.1\n")
    (machine.root / "sys/class/net/fips0").mkdir(parents=True)
    resolver = machine.resolver()
    assert done(resolver.configure()).backend == "resolvectl"
    assert machine.commands[-2:] == ["resolvectl dns fips0 [::1]:5354", "resolvectl domain fips0 ~fips"]
    assert machine.read(GLOBAL) is None
    assert done(resolver.undo()) is None
    assert machine.commands[-1] == "resolvectl revert fips0"


def test_resolvectl_has_nothing_to_undo_once_the_interface_is_gone(machine: FakeMachine) -> None:
    machine.with_resolved()
    machine.write("run/systemd/resolved.conf.d/corporate.conf", "[Resolve]\nDNS=192.0.2.1\n")
    resolver = machine.resolver()
    done(resolver.configure())
    machine.commands.clear()
    assert done(resolver.undo()) is None
    assert machine.commands == []


def test_half_a_resolvectl_is_taken_back(machine: FakeMachine) -> None:
    machine.with_resolved()
    machine.write("etc/systemd/resolved.conf", "DNS=192.0.2.1\n")
    machine.failing.add("resolvectl domain")
    outcome = machine.configure()
    assert outcome.backend == NONE
    assert "it broke" in outcome.message
    assert machine.commands[-1] == "resolvectl revert fips0"


def test_an_inactive_resolved_is_not_configured(machine: FakeMachine) -> None:
    machine.with_resolved(300)
    machine.failing.add("systemctl is-active")
    assert machine.configure().backend == NONE
    assert machine.read(DELEGATE) is None


def test_dnsmasq_without_systemd_is_restarted_by_its_init_script(machine: FakeMachine) -> None:
    machine.with_dnsmasq(systemd=False)
    assert machine.configure().backend == "dnsmasq"
    assert machine.commands == ["dnsmasq restart"]


def test_a_dnsmasq_that_died_is_not_configured(machine: FakeMachine) -> None:
    machine.with_dnsmasq(systemd=False)
    (machine.root / "proc/99/stat").unlink()
    (machine.root / "proc/99").rmdir()
    assert machine.configure().backend == NONE


@pytest.mark.parametrize(
    ("later", "expected"),
    [("[main]\ndns=systemd-resolved\n", NONE), ("[connection]\ndns=none\n", "nm-dnsmasq")],
    ids=["overridden", "other section"],
)
def test_the_last_network_manager_setting_counts(machine: FakeMachine, later: str, expected: str) -> None:
    machine.with_network_manager()
    machine.write("etc/NetworkManager/conf.d/90-dns.conf", later)
    assert machine.configure().backend == expected


def test_when_the_reload_fails_the_file_goes_and_the_next_backend_is_tried(machine: FakeMachine) -> None:
    machine.with_resolved(300)
    machine.with_dnsmasq()
    machine.failing |= {"systemctl restart systemd-resolved", "resolvectl"}
    outcome = machine.configure()
    assert outcome.backend == "dnsmasq"
    assert machine.read(DELEGATE) is machine.read(GLOBAL) is None


def test_when_nothing_works_the_reasons_are_in_the_one_line(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.failing.add("systemctl restart dnsmasq")
    outcome = machine.configure()
    assert outcome.backend == NONE
    assert "dnsmasq: `systemctl restart dnsmasq` failed: it broke" in outcome.message
    assert "\n" not in outcome.message


def test_a_file_of_somebody_else_is_never_touched(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.write(DNSMASQ, "server=/fips/192.0.2.9\n")
    outcome = machine.configure()
    assert outcome.backend == NONE
    assert "not written by meshnode" in outcome.message
    assert machine.read(DNSMASQ) == "server=/fips/192.0.2.9\n"


def test_a_file_of_somebody_else_that_says_the_same_is_good_enough_and_stays(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    text = "# packaged\nserver=/fips/::1#5354\nrebind-domain-ok=/fips/\n"
    machine.write(DNSMASQ, text)
    resolver = machine.resolver()
    outcome = done(resolver.configure())
    assert (outcome.backend, "already" in outcome.message) == ("dnsmasq", True)
    done(resolver.undo())
    assert machine.read(DNSMASQ) == text


def test_a_directory_that_cannot_be_written_is_a_reason(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.with_dnsmasq()

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    outcome = machine.configure()
    assert outcome.backend == NONE
    assert f"cannot write /{DNSMASQ}: Read-only file system" in outcome.message
    assert list((machine.root / "etc/dnsmasq.d").iterdir()) == []


def test_the_leftovers_of_a_killed_node_are_undone_before_anything_else(machine: FakeMachine) -> None:
    machine.with_resolved()
    machine.configure()
    machine.with_dnsmasq()
    machine.failing.add("systemctl is-active --quiet systemd-resolved")
    machine.commands.clear()
    machine.start_process(THEM)
    later = machine.resolver(owner=f"{THEM}:1000")
    (machine.root / f"proc/{US}/stat").unlink()
    assert done(later.configure()).backend == "dnsmasq"
    assert machine.read(GLOBAL) is None
    assert machine.commands[0] == "systemctl restart systemd-resolved"


def test_leftovers_are_found_without_the_record(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.configure()
    (machine.root / RECORD).unlink()
    machine.write(GLOBAL, f"{MARKER}\n[Resolve]\n")
    machine.configure(mode=NONE)
    assert machine.read(DNSMASQ) is machine.read(GLOBAL) is None


def test_a_record_of_a_recycled_process_id_counts_as_dead(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.configure()
    machine.start_process(US, started=2000)
    later = machine.resolver(owner=f"{THEM}:5")
    assert done(later.configure()).backend == "dnsmasq"


def test_the_work_of_another_living_node_is_left_alone(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.configure()
    before = (machine.read(DNSMASQ), machine.read(RECORD))
    second = machine.resolver(("::1", 5999), owner=f"{THEM}:5")
    outcome = done(second.configure())
    assert (outcome.backend, str(US) in outcome.message) == (NONE, True)
    assert done(second.undo()) is None
    assert (machine.read(DNSMASQ), machine.read(RECORD)) == before


def test_a_process_knows_itself_by_its_start_time(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.start_process(os.getpid(), started=31337)
    done(machine.resolver(owner=None).configure())
    assert json.loads(machine.read(RECORD) or "")["owner"] == f"{os.getpid()}:31337"


@pytest.mark.parametrize("record", ["", "[]", "{", '{"owner": 3, "backend": "x"}', "\x00"])
def test_a_damaged_record_does_no_harm(machine: FakeMachine, record: str) -> None:
    machine.with_dnsmasq()
    machine.write(RECORD, record)
    assert machine.configure().backend == "dnsmasq"


def test_a_record_that_cannot_be_written_is_mentioned_and_undo_still_works(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    machine.write("run/meshnode", "a file where a directory should be")
    resolver = machine.resolver()
    outcome = done(resolver.configure())
    assert (outcome.backend, "cannot be written" in outcome.message) == ("dnsmasq", True)
    assert done(resolver.undo()) is None
    assert machine.read(DNSMASQ) is None


def test_an_undo_that_fails_says_so_and_a_second_one_does_nothing(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    resolver = machine.resolver()
    done(resolver.configure())
    machine.failing.add("systemctl restart")
    assert "dnsmasq" in (done(resolver.undo()) or "")
    assert done(resolver.undo()) is None


def test_undo_waits_for_a_configuration_under_way(machine: FakeMachine) -> None:
    machine.with_dnsmasq()
    gate: Deferred[None] = Deferred()
    plain = machine._finish

    async def slow(command: str) -> Finished:
        if command == "systemctl restart dnsmasq" and not gate.called:
            await gate
        return await plain(command)

    machine._finish = slow  # type: ignore[method-assign]
    resolver = machine.resolver()
    ended: list[object] = []
    Deferred.fromCoroutine(resolver.configure()).addCallback(ended.append)
    Deferred.fromCoroutine(resolver.undo()).addCallback(ended.append)
    assert ended == []
    gate.callback(None)
    assert {type(result) for result in ended} == {Outcome, type(None)}
    assert machine.read(DNSMASQ) is None


def test_none_leaves_the_machine_alone(machine: FakeMachine) -> None:
    machine.with_resolved()
    assert machine.configure(mode=NONE).backend == NONE
    assert machine.commands == []


def test_a_backend_asked_for_by_name_is_the_only_one_tried(machine: FakeMachine) -> None:
    machine.with_resolved(300)
    outcome = machine.configure(mode="dnsmasq")
    assert (outcome.backend, "there is no /etc/dnsmasq.d" in outcome.message) == (NONE, True)
    assert machine.commands == []


def test_every_mode_is_accepted_on_a_bare_machine(machine: FakeMachine) -> None:
    assert {machine.configure(mode=mode).backend for mode in MODES} == {NONE}


def test_resolv_conf_is_never_chosen_without_being_asked_for(machine: FakeMachine) -> None:
    machine.write(RESOLV_CONF, "nameserver 192.0.2.1\n")
    assert machine.configure(("127.0.0.1", 53)).backend == NONE
    assert machine.read(RESOLV_CONF) == "nameserver 192.0.2.1\n"


def test_resolv_conf_gets_our_server_first_and_loses_only_that(machine: FakeMachine) -> None:
    path = machine.write(RESOLV_CONF, "search example.com\nnameserver 192.0.2.1\n")
    path.chmod(0o640)
    resolver = machine.resolver(("::1", 5354), ("127.0.0.1", 53), mode="resolv-conf")
    assert done(resolver.configure()).backend == "resolv-conf"
    text = machine.read(RESOLV_CONF) or ""
    assert text.startswith(f"{MARKER}\nnameserver 127.0.0.1\n")
    assert text.endswith("search example.com\nnameserver 192.0.2.1\n")
    assert path.stat().st_mode & 0o777 == 0o640
    path.write_text(text + "nameserver 192.0.2.2\n")
    assert done(resolver.undo()) is None
    assert machine.read(RESOLV_CONF) == "search example.com\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"


def test_resolv_conf_after_a_kill_is_cleaned_and_written_once(machine: FakeMachine) -> None:
    machine.write(RESOLV_CONF, "nameserver 192.0.2.1\n")
    for _ in range(3):
        machine.configure(("127.0.0.1", 53), mode="resolv-conf")
    assert (machine.read(RESOLV_CONF) or "").count(MARKER) == 1


def test_resolv_conf_needs_a_responder_on_port_53(machine: FakeMachine) -> None:
    machine.write(RESOLV_CONF, "nameserver 192.0.2.1\n")
    outcome = machine.configure(mode="resolv-conf")
    assert "resolver: resolv-conf" not in outcome.message
    assert outcome.backend == NONE
    assert "port 53" in outcome.message


def test_a_resolv_conf_that_belongs_to_another_program_is_left_alone(machine: FakeMachine) -> None:
    stub = machine.write("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n")
    (machine.root / "etc").mkdir(exist_ok=True)
    (machine.root / RESOLV_CONF).symlink_to(stub)
    outcome = machine.configure(("127.0.0.1", 53), mode="resolv-conf")
    assert (outcome.backend, "is a link to" in outcome.message) == (NONE, True)
    assert stub.read_text() == "nameserver 127.0.0.53\n"


def test_a_resolv_conf_that_is_a_mount_point_is_written_in_place(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.write(RESOLV_CONF, "nameserver 192.0.2.1\n")
    inode = path.stat().st_ino
    plain = os.replace

    def busy(source: Path, target: Path) -> None:
        if target == path:
            raise OSError(errno.EBUSY, "Device or resource busy")
        plain(source, target)

    monkeypatch.setattr(os, "replace", busy)
    resolver = machine.resolver(("127.0.0.1", 53), mode="resolv-conf")
    assert done(resolver.configure()).backend == "resolv-conf"
    assert done(resolver.undo()) is None
    assert path.read_text() == "nameserver 192.0.2.1\n"
    assert path.stat().st_ino == inode
    assert [entry.name for entry in path.parent.iterdir()] == ["resolv.conf"]


def test_a_resolv_conf_that_alone_can_be_written_is_written_in_place(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the unit, where it is one of the few files of /etc that the node may write."""
    path = machine.write(RESOLV_CONF, "nameserver 192.0.2.1\n")
    plain = os.open

    def guarded(file: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_EXCL and Path(file).parent == path.parent:
            raise OSError(errno.EROFS, "Read-only file system")
        return plain(file, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", guarded)
    resolver = machine.resolver(("127.0.0.1", 53), mode="resolv-conf")
    assert done(resolver.configure()).backend == "resolv-conf"
    assert "nameserver 127.0.0.1\n" in path.read_text()
    assert done(resolver.undo()) is None
    assert path.read_text() == "nameserver 192.0.2.1\n"


def test_the_servers_named_before_are_known_without_our_own(machine: FakeMachine) -> None:
    machine.write(
        RESOLV_CONF,
        "# nameserver 192.0.2.7\nnameserver 192.0.2.1\n nameserver 2001:db8::1 \nnameserver ::1\nnameserver x\n",
    )
    machine.configure(("127.0.0.1", 53), mode="resolv-conf")
    assert upstream_servers(machine.root, [("::1", 53)]) == [("192.0.2.1", 53), ("2001:db8::1", 53)]


def test_without_a_resolv_conf_there_are_no_servers(tmp_path: Path) -> None:
    assert upstream_servers(tmp_path) == []


@pytest.mark.parametrize(
    "block",
    [
        f"{MARKER}\nnameserver ::1\n# meshnode: end\n",
        f"{MARKER}\nnameserver ::1\n",
        f"{MARKER}\n# meshnode: end\n",
        f"{MARKER}\n",
    ],
)
def test_a_block_that_somebody_cut_into_takes_nothing_else_along(block: str) -> None:
    assert without_block(f"search a\n{block}search b\nnameserver 192.0.2.1\n") == (
        "search a\nsearch b\nnameserver 192.0.2.1\n"
    )
    assert without_block(block.rstrip("\n")) in ("", "nameserver ::1")


@given(st.text())
def test_a_resolv_conf_without_our_block_is_kept_byte_for_byte(text: str) -> None:
    assert without_block(text) == text
    assert isinstance(name_servers(text), list)
