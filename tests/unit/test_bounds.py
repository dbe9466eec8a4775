"""Nothing grows past its bound: whole nodes under attack for ten minutes, every table looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from meshnode.mesh.session import SessionLayer
from meshnode.mesh.settings import MeshSettings
from meshnode.sim import bounds
from meshnode.sim.bound_rows import LIMITS, SECTIONS
from meshnode.sim.bounds import oversized, tables, unlisted
from tests.fuzz.machines import Scene
from tests.fuzz.tape import Tape

ROOT = Path(__file__).parent.parent.parent
VIRTUAL_SECONDS = 600.0


class Siege(Scene):
    """The hostile peer of the fuzzers, with dice instead of a tape and the time to say a great deal."""

    def __init__(self, seed: int) -> None:
        super().__init__(Tape(b""))
        dice = Random(seed)
        self.dice = self.lies.dice = dice  # type: ignore[assignment]
        self.largest: dict[str, int] = {}
        self.complaints: set[str] = set()

    def storm(self, seconds: float) -> None:
        end = self.net.clock.seconds() + seconds
        while self.net.clock.seconds() < end:
            for _ in range(4):
                self.act()
            self.net.run(0.5, step=0.25)
            self.look()

    def look(self) -> None:
        for host in (self.victim, self.bystander):
            self.complaints.update(oversized(host.node))
            self.complaints.update(f"{path} is in no row" for path in unlisted(host.node))
            for path, held in tables(host.node):
                self.largest[path] = max(self.largest.get(path, 0), held)


def test_nothing_grows_past_its_bound_in_ten_minutes_of_attack() -> None:
    siege = Siege(1)
    siege.storm(VIRTUAL_SECONDS)
    assert siege.complaints == set()
    siege.judge()
    seen = {path for path, held in siege.largest.items() if held}
    assert {"router.lookups.recent", "sessions._core.sessions", "router.coordinate_cache._entries"} <= seen


def test_the_walk_finds_a_table_that_is_in_no_row_and_one_that_is_too_large() -> None:
    siege = Siege(2)
    node = siege.victim.node
    node.forgotten = {}  # type: ignore[attr-defined]
    node.router.lookups.pending.update((number.to_bytes(16, "big"), None) for number in range(2000))  # type: ignore[misc]
    siege.look()
    assert "forgotten is in no row" in siege.complaints
    assert any(text.startswith("router.lookups.pending holds 2000") for text in siege.complaints)


def test_no_path_is_in_two_rows() -> None:
    paths = [path for rows in SECTIONS.values() for row in rows for path in row.paths]
    assert len(paths) == len(set(paths)) == len(LIMITS)


@pytest.mark.parametrize("path", LIMITS)
def test_every_limit_is_a_number(path: str) -> None:
    assert 0 < LIMITS[path](MeshSettings()) <= 1 << 17


def test_the_page_is_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "script" / "gen-bounds-reference"), "--check"], check=False)
    assert done.returncode == 0, "run script/gen-bounds-reference"


def test_a_full_table_of_sessions_takes_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    from meshnode.mesh.session import layer as session_layer
    from tests.unit.session_rig import pair
    from tests.unit.test_session_bounds import flood

    monkeypatch.setattr(session_layer, "MAX_SESSIONS", 10)
    net, a, _b = pair()
    assert flood(a, 40, net.now) == 10
    assert isinstance(a.layer, SessionLayer)
    assert len(a.layer.sessions) == 10


def test_the_rows_are_those_the_walk_uses() -> None:
    assert bounds.LIMITS is LIMITS
