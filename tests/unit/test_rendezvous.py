"""Discovery services start with the node, or when what they need has come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from meshnode.discovery.interfaces import DiscoveryError
from meshnode.rendezvous import Rendezvous


class Finder(Rendezvous):
    """With one service of its own instead of those that a configuration turns on."""

    def __init__(self) -> None:
        node: Any = SimpleNamespace(
            events=SimpleNamespace(subscribe=lambda told: None),
            identity=SimpleNamespace(peer=SimpleNamespace(xonly=b"")),
        )
        config: Any = None
        super().__init__(node, config, None)
        self.starts: list[str] = []
        self.refusal: str | None = "there is no transport"

    def _makers(self) -> list[Any]:
        return [lambda host: SimpleNamespace(start=self._begin)]

    def _begin(self) -> None:
        if self.refusal is not None:
            raise DiscoveryError(self.refusal)
        self.starts.append("started")


def test_what_could_not_start_is_started_later_and_once() -> None:
    finder = Finder()
    assert finder.start() == ["there is no transport"]
    finder.refusal = None
    assert finder.start() == []
    assert finder.start() == []
    assert finder.starts == ["started"]
