"""What the network interface of the mesh has carried and lost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TunCounters:
    """Traffic of an interface; read is from the host, written to it. Bytes are of IPv6.

    A frame of merged packets counts once. `backlog_dropped` and `backlog_marked` are packets that the host sent faster
    than they could be sealed; `write_dropped` ones that it had no room for.
    """

    packets_read: int = 0
    bytes_read: int = 0
    packets_written: int = 0
    bytes_written: int = 0
    write_dropped: int = 0
    write_errors: int = 0
    backlog_dropped: int = 0
    backlog_marked: int = 0
