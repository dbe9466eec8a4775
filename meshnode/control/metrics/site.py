"""`/metrics` over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.web.resource import Resource

from meshnode.node.core import Node

from ..http import Folder
from ..view import View
from .collect import Sample, samples

Render = Callable[[Iterable[Sample]], bytes]


class MetricsUnavailable(Exception):
    """The library that writes metrics is not there; the text is one line for the operator."""


def site(node: Node) -> Resource:
    """The root of the site. Raises `MetricsUnavailable` without the extra."""
    try:
        from .text import CONTENT_TYPE, exposition
    except ImportError:
        raise MetricsUnavailable("metrics need a library that is not there: pip install meshnode[metrics]") from None
    return Folder({"metrics": _Metrics(node, exposition, CONTENT_TYPE), "": _Hint()})


class _Metrics(Resource):
    isLeaf = True  # noqa: N815

    def __init__(self, node: Node, render: Render, content_type: str) -> None:
        super().__init__()
        self._node = node
        self._render = render
        self._content_type = content_type

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        request.setHeader("Content-Type", self._content_type)
        return self._render(samples(View.of(self._node)))


class _Hint(Resource):
    isLeaf = True  # noqa: N815

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return b"metrics are at /metrics\n"
