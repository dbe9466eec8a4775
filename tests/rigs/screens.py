"""A terminal program on a screen of a given size, in a tmux of its own that nobody else sees."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.rigs.waiting import wait_until


class Screen:
    """A context manager: the program starts on entry, and its whole terminal ends on exit."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._socket = directory / "tmux"
        self._command = command
        self._size = size
        self._environment = environment or {}

    def __enter__(self) -> Screen:
        columns, rows = self._size
        setting = [f"{name}={value}" for name, value in self._environment.items()]
        program = shlex.join(["env", *setting, *self._command])
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), program)
        self._tmux("set-option", "-g", "remain-on-exit", "on")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def text(self) -> str:
        """What is on the screen now."""
        return self._tmux("capture-pane", "-p")

    def has_ended(self) -> bool:
        """Whether the program has; what it showed stays on the screen, to which tmux adds a line sooner or later."""
        return self._tmux("list-panes", "-F", "#{pane_dead}").strip() == "1"

    def press(self, *keys: str) -> None:
        """Send keys by their tmux names, such as `Tab`, `Enter`, `q`."""
        self._tmux("send-keys", *keys)

    def wait_for(self, text: str, deadline: float = 10.0) -> str:
        """Return the screen once it shows `text`."""
        wait_until(lambda: text in self.text(), deadline, f"the screen shows {text!r}, not:\n{self.text()}")
        return self.text()

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout
