"""The addresses that stand for mesh nodes on the local network, and how long each is lent (spec 07 section 2).

No input or output: time comes in as `now` (monotonic seconds), session counts come in with `tick`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv6Address

MOST_ADDRESSES = 65536
BLIND_TTL = 300.0
"""Seconds an address is kept at least while nobody can tell whether it is in use."""


class PoolError(ValueError):
    """A pool that cannot be used; the text says what to write instead."""


class State(Enum):
    """How a mapping is doing, in the words of the control socket."""

    ALLOCATED = "Allocated"
    ACTIVE = "Active"
    DRAINING = "Draining"


@dataclass(slots=True)
class Lease:
    """One lent address: `virtual` on the local network stands for `mesh` (16 bytes each); `name` asked for it first."""

    virtual: bytes
    mesh: bytes
    name: str
    created: float
    referenced: float
    state: State = State.ALLOCATED
    draining_since: float | None = None
    sessions: int = 0


class Prefix:
    """`<IPv6>/<length>` as written: host bits count, since addresses are base + 1 and up (spec 07 section 2)."""

    def __init__(self, text: str) -> None:
        address, slash, length = text.partition("/")
        try:
            self.base = int(IPv6Address(address))
            self.length = int(length)
        except (AddressValueError, ValueError):
            raise PoolError(f"gateway.pool `{text}` is no IPv6 prefix; write one like fd01::/112") from None
        if not slash or not length.isdecimal() or not 1 <= self.length <= 128:
            raise PoolError(f"gateway.pool `{text}`: the length must be 1 to 128; write one like fd01::/112")
        self.text = text
        self.size = min(1 << (128 - self.length), MOST_ADDRESSES) - 1

    @property
    def network(self) -> str:
        """The prefix without host bits, for routes."""
        mask = (1 << 128) - (1 << (128 - self.length))
        return f"{IPv6Address(self.base & mask)}/{self.length}"

    @property
    def first(self) -> IPv6Address:
        return IPv6Address(min(self.base + 1, (1 << 128) - 1))

    @property
    def last(self) -> IPv6Address:
        return IPv6Address(min(self.base + self.size, (1 << 128) - 1))

    def __contains__(self, address: bytes) -> bool:
        return self.base < int.from_bytes(address, "big") <= self.base + self.size

    def __iter__(self) -> Iterator[bytes]:
        """Every address that can be lent, lowest first."""
        for number in range(self.base + 1, min(self.base + self.size + 1, 1 << 128)):
            yield number.to_bytes(16, "big")


class AddressPool:
    """Lends addresses of `prefix`, one per mesh node.

    `ttl` is how long an unused one stays after it was last asked for, `grace` how long it then still waits for
    latecomers, both in seconds. Addresses in `reserved` are never lent: they are those of this machine.
    """

    def __init__(self, prefix: Prefix, ttl: float, grace: float, reserved: Collection[bytes] = ()) -> None:
        self.prefix = prefix
        self._ttl = ttl
        self._grace = grace
        self._leases: dict[bytes, Lease] = {}
        self._lent: set[bytes] = set(reserved)
        self._reserved = sum(1 for address in self._lent if address in prefix)
        self._unused = iter(prefix)
        self._returned: deque[bytes] = deque()

    # -- what there is

    @property
    def leases(self) -> Collection[Lease]:
        """Everything lent at present, the oldest first."""
        return self._leases.values()

    @property
    def total(self) -> int:
        return self.prefix.size - self._reserved

    @property
    def free(self) -> int:
        return self.total - len(self._leases)

    def count(self) -> Counter[State]:
        """How many mappings are in which state."""
        return Counter(lease.state for lease in self._leases.values())

    def find(self, mesh: bytes) -> Lease | None:
        return self._leases.get(mesh)

    # -- lending

    def lend(self, mesh: bytes, name: str, now: float) -> Lease | None:
        """Lend an address for the node at `mesh`, or renew the one it has; None when all are lent."""
        lease = self._leases.get(mesh)
        if lease is not None:
            self._refer(lease, now)
            return lease
        virtual = self._take()
        if virtual is None:
            return None
        return self._add(Lease(virtual, mesh, name, now, now))

    def restore(self, virtual: bytes, mesh: bytes, name: str, now: float) -> Lease | None:
        """Lend exactly `virtual`, as an earlier run did; None when that is not possible any more."""
        if virtual not in self.prefix or virtual in self._lent or mesh in self._leases:
            return None
        if virtual in self._returned:
            self._returned.remove(virtual)
        self._lent.add(virtual)
        return self._add(Lease(virtual, mesh, name, now, now))

    def _add(self, lease: Lease) -> Lease:
        self._leases[lease.mesh] = lease
        return lease

    def _refer(self, lease: Lease, now: float) -> None:
        lease.referenced = now
        if lease.state is State.DRAINING:  # a name just resolved must not stop working seconds later
            lease.state, lease.draining_since = State.ALLOCATED, None

    def _take(self) -> bytes | None:
        """Fresh addresses in order, then those that came back, the longest unused first."""
        for address in self._unused:
            if address not in self._lent:
                self._lent.add(address)
                return address
        if not self._returned:
            return None
        address = self._returned.popleft()
        self._lent.add(address)
        return address

    # -- taking back

    def tick(self, sessions: Mapping[bytes, int] | None, now: float) -> list[Lease]:
        """Judge every mapping by its `sessions` (by virtual address; None: unknown). Returns those taken back."""
        ttl = self._ttl if sessions is not None else max(self._ttl, BLIND_TTL)
        ended = []
        for lease in self._leases.values():
            lease.sessions = 0 if sessions is None else sessions.get(lease.virtual, 0)
            if self._judge(lease, ttl, now):
                ended.append(lease)
        for lease in ended:
            del self._leases[lease.mesh]
            self._lent.discard(lease.virtual)
            self._returned.append(lease.virtual)
        return ended

    def _judge(self, lease: Lease, ttl: float, now: float) -> bool:
        """Move `lease` on (spec 07 section 2.1); whether its address comes back."""
        if lease.sessions:
            lease.referenced = now
            lease.state, lease.draining_since = State.ACTIVE, None
            return False
        if lease.state is not State.DRAINING:
            if now - lease.referenced > ttl:
                lease.state, lease.draining_since = State.DRAINING, now
            return False
        since = lease.draining_since
        return since is not None and now - since > self._grace
