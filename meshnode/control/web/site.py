"""The page and what it asks: `/`, its files, and `/api/COMMAND` for the commands a page needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from ..commands import CommandError
from ..encoding import failure, success
from ..exchange import Answers
from ..http import Folder
from ..request import RequestError, parse_value
from .guard import Guard

SHOWN = frozenset((
    "show_status", "show_peers", "show_known_peers", "show_tree", "show_cache", "show_transports", "show_sessions",
    "show_mmp", "show_events", "show_stats_all_history", "show_stats_history_all_peers",
))  # fmt: skip
CHANGING = frozenset(("connect", "disconnect", "peer_add", "peer_remove"))
MOST_ROWS = 500
"""Rows of a list that a page is given; it could draw no more."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
SCRIPTS = ("words.js", "drawing.js", "charts.js", "page.js")
_FILES = {"": "page.html", "page.css": "page.css", **{name: name for name in SCRIPTS}}


def site(answers: Answers, guard: Guard) -> Resource:
    """The root of the site."""
    pages: dict[str, Resource] = {path: _File(guard, name) for path, name in _FILES.items()}
    commands: dict[str, Resource] = {name: _Shown(guard, answers, name) for name in SHOWN}
    commands |= {name: _Changing(guard, answers, name) for name in CHANGING}
    commands["page"] = _About(guard)
    return Folder({**pages, "api": Folder(commands)})


class _Guarded(Resource):
    """A leaf that answers only whom the guard lets in."""

    isLeaf = True  # noqa: N815

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.guard = guard

    def render(self, request: Any) -> Any:
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        refusal = self.guard.refusal(request)
        if refusal is not None:
            return _refused(request, 403, refusal)
        if not hasattr(self, f"render_{request.method.decode('ascii', 'replace')}"):
            return _refused(request, 405, "that is not how this is asked")
        return super().render(request)


class _File(_Guarded):
    def __init__(self, guard: Guard, name: str) -> None:
        super().__init__(guard)
        self._content = files(__package__).joinpath(name).read_bytes()
        self._type = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        request.setHeader("Content-Type", self._type)
        return self._content


class _About(_Guarded):
    """What the page has to know of itself."""

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        request.setHeader("Content-Type", "application/json")
        return json.dumps({"can_change": self.guard.can_change}).encode()


class _Command(_Guarded):
    def __init__(self, guard: Guard, answers: Answers, name: str) -> None:
        super().__init__(guard)
        self._answers = answers
        self._name = name

    def execute(self, request: Any, params: Mapping[str, Any] | None) -> int:
        """Answer as the control socket does, when the answer is there."""
        request.setHeader("Content-Type", "application/json")
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answer: Callable[[str, Any], Any] = self._answers.answer
        result = maybeDeferred(answer, self._name, params)
        result.addCallbacks(success, _failed)
        result.addCallback(lambda pieces: None if gone else _Pieces(request, pieces).start())
        return int(NOT_DONE_YET)


class _Shown(_Command):
    def render_GET(self, request: Any) -> int:  # noqa: N802
        params: dict[str, Any] = {
            n.decode("ascii", "replace"): v[0].decode("utf-8", "replace") for n, v in request.args.items()
        }
        return self.execute(request, {"limit": MOST_ROWS, **params})


class _Changing(_Command):
    def render_POST(self, request: Any) -> Any:  # noqa: N802
        refusal = self.guard.may_change(request)
        if refusal is not None:
            return _refused(request, 403, refusal)
        try:
            params = parse_value(request.content.read().decode())
        except (RequestError, UnicodeDecodeError):
            return _refused(request, 400, "the body is not JSON")
        return self.execute(request, params)


def _failed(reason: Failure) -> Iterator[bytes]:
    reason.trap(CommandError)
    return failure(str(reason.value))


def _refused(request: Any, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return b"".join(failure(text))


@implementer(IPushProducer)
class _Pieces:
    """Sends an answer as fast as it is taken, so that a long one never holds up the node."""

    def __init__(self, request: Any, pieces: Iterator[bytes]) -> None:
        self._request = request
        self._pieces = pieces
        self._is_paused = False

    def start(self) -> None:
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:  # noqa: N802
        self._is_paused = False
        while not self._is_paused:
            piece = next(self._pieces, None)
            if piece is None:
                self._is_paused = True
                self._request.unregisterProducer()
                self._request.finish()
                return
            self._request.write(piece)

    def pauseProducing(self) -> None:  # noqa: N802
        self._is_paused = True

    def stopProducing(self) -> None:  # noqa: N802
        self._is_paused = True
        self._pieces = iter(())
