"""The short-lived process that talks rtnetlink, so that the daemon need not load a netlink library.

One JSON request on standard input, one JSON answer on standard output: `{"error": null or text, "rule_added": bool}`.
Requests: `{"do": "configure", "name", "address", "mtu"}` and `{"do": "remove_rule"}`. Run as a file, not as a module of
the package: it needs nothing of the package.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import socket
import sys
import types
from typing import Any

_MESH = "fd00::/8"
_MAIN_TABLE = 254
_RULE_PRIORITY = 5265
_QUEUE = 1000
"""Packets the kernel keeps for us. Its 500 overflow while one burst is being sealed; twice that does not (measured)."""
_NO_PERMISSION = "CAP_NET_ADMIN is missing: run as root, or: setcap cap_net_admin+ep on the Python interpreter"


class SetupError(Exception):
    """The interface cannot be configured; the text is one line with cause and remedy."""


class Kernel:
    """The rtnetlink of this network namespace. `refusal` is the exception of a refused request, with its `code`."""

    def __init__(self, module: Any, errors: Any) -> None:
        self.refusal: type[Exception] = errors.NetlinkError
        self.route = module.IPRoute()

    def step(self, what: str, method: str, command: str, **parameters: Any) -> None:
        """Do one thing, or raise SetupError."""
        try:
            getattr(self.route, method)(command, **parameters)
        except self.refusal as refusal:
            raise SetupError(f"cannot {what}: {_remedy(what, getattr(refusal, 'code', 0))}") from refusal


def load_kernel() -> Kernel:
    """Load pyroute2's rtnetlink.

    The package imports every netlink family when it is imported itself, a third of this process's time; so a bare
    package of that name is put in its place first. Should a release not bear that, it is imported in full.
    """
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        raise SetupError("the Python package pyroute2 is missing: install it")
    bare = types.ModuleType("pyroute2")
    bare.__path__ = list(spec.submodule_search_locations)
    bare.__spec__ = spec
    sys.modules["pyroute2"] = bare
    try:
        module = importlib.import_module("pyroute2.iproute.linux")
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
            del sys.modules[name]
        module = importlib.import_module("pyroute2")
    return Kernel(module, importlib.import_module("pyroute2.netlink.exceptions"))


def configure(kernel: Kernel, name: str, address: str, mtu: int) -> bool:
    """Give the interface its MTU, address and routes; whether the policy rule was not there before."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise SetupError(f"interface {name} does not exist") from None
    v6 = socket.AF_INET6
    kernel.step(f"set the MTU of {name} to {mtu}", "link", "set", index=index, mtu=mtu, txqlen=_QUEUE)
    kernel.step(
        f"add address {address} to {name}", "addr", "add", index=index, address=address, prefixlen=128, family=v6
    )
    kernel.step(f"bring {name} up", "link", "set", index=index, state="up")
    kernel.step(f"route {_MESH} to {name}", "route", "add", dst=_MESH, oif=index, family=v6)
    return change_rule(kernel, "add")


def change_rule(kernel: Kernel, command: str) -> bool:
    """Add or delete the rule that mesh addresses use the main table; False if that was not possible or not needed."""
    prefix, _, length = _MESH.partition("/")
    try:
        kernel.route.rule(
            command,
            family=socket.AF_INET6,
            dst=prefix,
            dst_len=int(length),
            table=_MAIN_TABLE,
            priority=_RULE_PRIORITY,
        )
    except kernel.refusal:
        return False
    return True


def _remedy(what: str, code: int) -> str:
    if code == errno.EPERM:
        return _NO_PERMISSION
    if code == errno.EACCES:
        return "IPv6 is disabled on new interfaces: sysctl net.ipv6.conf.default.disable_ipv6=0"
    if code == errno.EEXIST:
        return "another interface has it already; is another mesh daemon running?"
    if code == errno.EINVAL and "MTU" in what:
        return "the kernel takes 68 to 65535 bytes; IPv6 needs at least 1280; change tun.mtu"
    return os.strerror(code)


def answer() -> dict[str, Any]:
    """Carry out the request on standard input, which may come long after the process started."""
    try:
        kernel = load_kernel()
        with kernel.route:
            request = json.load(sys.stdin)
            if request["do"] == "configure":
                added = configure(kernel, request["name"], request["address"], request["mtu"])
                return {"error": None, "rule_added": added}
            change_rule(kernel, "del")
            return {"error": None, "rule_added": False}
    except SetupError as error:
        return {"error": str(error), "rule_added": False}


def main() -> None:
    json.dump(answer(), sys.stdout)


if __name__ == "__main__":
    main()
