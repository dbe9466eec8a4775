"""What single carriers need: a Tor that answers, a Bluetooth adapter that is on."""

from __future__ import annotations

from collections.abc import Iterator

from .verdicts import Patient, Verdict

_BUS = "/run/dbus/system_bus_socket"


def proxies(patient: Patient) -> Iterator[Verdict]:
    """Do the proxies of Tor and Nym answer?"""
    for kind, fix in (("tor", "systemctl start tor (Debian: apt-get install tor)"), ("nym", "start nym-socks5-client")):
        if not _is_used(patient, kind):
            continue
        address = str(
            patient.setting(f"transports.{kind}.socks5_addr", "127.0.0.1:9050" if kind == "tor" else "127.0.0.1:1080")
        )
        host, _, port = address.rpartition(":")
        cause = patient.machine.reach(host.strip("[]"), int(port)) if port.isdigit() else "no such address"
        if cause is None:
            yield Verdict(kind, "ok", f"the proxy at {address} answers")
        else:
            yield Verdict(kind, "bad", f"the proxy at {address} does not answer: {cause}", fix)


def bluetooth(patient: Patient) -> Iterator[Verdict]:
    """Is there an adapter, is it free, and is BlueZ there to manage it?"""
    if not _is_used(patient, "ble"):
        return
    machine = patient.machine
    adapters = [name for name in machine.names("/sys/class/bluetooth") if ":" not in name]
    if not adapters:
        yield Verdict("bluetooth", "bad", "there is no Bluetooth adapter", "plug one in; see dmesg and modprobe btusb")
        return
    for switch in machine.names("/sys/class/rfkill"):
        place = f"/sys/class/rfkill/{switch}"
        if (machine.read(f"{place}/type") or "").strip() != "bluetooth":
            continue
        if (machine.read(f"{place}/hard") or "").strip() == "1":
            yield Verdict("bluetooth", "bad", "a switch of the machine turns Bluetooth off", "turn that switch on")
            return
        if (machine.read(f"{place}/soft") or "").strip() == "1":
            yield Verdict("bluetooth", "bad", "Bluetooth is blocked", "rfkill unblock bluetooth")
            return
    if not machine.path(_BUS).exists():
        yield Verdict("bluetooth", "bad", "there is no D-Bus, which BlueZ needs", "apt-get install dbus bluez")
    else:
        yield Verdict("bluetooth", "ok", f"adapter {adapters[0]} is there")


def _is_used(patient: Patient, kind: str) -> bool:
    return any(row["type"] == kind for row in patient.transports)


CHECKS = (proxies, bluetooth)
