"""The events that are kept, for whoever looks now and then instead of watching."""

from __future__ import annotations

from typing import Any

from meshnode.node.events import EventHub

from .encoding import Answer
from .watch import wanted_kinds, wanted_since


def show_events(events: EventHub, params: Any) -> Answer:
    """Events after number `since` (0: all that are kept), of the kinds in `events`. Raises `CommandError`."""
    given = params if isinstance(params, dict) else {}
    kinds, since = wanted_kinds(given.get("events")), wanted_since(given.get("since")) or 0
    rows = (record.as_dict() for record in events.since(since) if record.event.KIND in kinds)
    return {"last_number": events.last_number, "events": rows}
