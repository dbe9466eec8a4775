"""`meshctl acl`: who may be a peer."""

from __future__ import annotations

import argparse
import time

from .. import acl
from ..options import Words, client, emit, readable
from ..views import VIEWS

_CHANGES = {"allow": "always welcome", "deny": "not welcome", "remove": "in neither list any more"}


def add_to(words: Words) -> None:
    verbs = words.group("acl", "who may be a peer: show the lists, or change an entry", ("show", *_CHANGES), _show)
    verbs.add("show", "print the lists and who was refused lately; `meshctl acl` alone does the same", _show)
    for verb, text in _CHANGES.items():
        command = verbs.add(verb, f"this node is {text}", _change)
        command.add_argument("peer", metavar="PEER|ALL", help="npub or name; ALL for everybody")
        command.set_defaults(verb=verb)


def _show(options: argparse.Namespace) -> None:
    data = client(options).ask("show_acl")
    emit(data, options, lambda: readable(lambda: VIEWS["acl"](data, time.time())))


def _change(options: argparse.Namespace) -> None:
    node = client(options)
    if getattr(options, "socket", None) is not None:
        node.ask("show_acl")  # or somebody who mistypes the socket changes the lists of another node
    done = acl.change(options.verb, options.peer, node)
    emit(done, options, lambda: acl.report(options.verb, done))
