"""The manual pages of `meshctl` and `meshtop`, made from their command lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .grammar import Command, Option

_HEAD = """\
.TH MESHCTL 1 "" "meshnode" "User Commands"
.SH NAME
meshctl \\- look at a running node of a mesh and tell it what to do
.SH SYNOPSIS
.B meshctl
[\\fB\\-s\\fR \\fIPATH\\fR] [\\fB\\-\\-json\\fR] \\fICOMMAND\\fR
.SH DESCRIPTION
A node answers questions on a Unix socket; this program asks them and prints the answers for people, or with
\\fB\\-\\-json\\fR as they are. Wherever a \\fIPEER\\fR is asked for, an npub will do, a name in the hosts file, an
alias of the configuration, a name as the program itself shows it, any of them with .fips behind it, or the mesh
address of a node that was met.
"""
_TAIL = """\
.SH EXIT STATUS
.TP
.B 0
Done; for \\fBstatus\\fR: the node is well; for \\fBping\\fR, \\fBtrace\\fR and \\fBwhy\\fR: there is a way.
.TP
.B 1
Not done, and one line on standard error says why; or the opposite of the above.
.TP
.B 2
Wrong usage.
.TP
.B 130
Interrupted.
.SH FILES
.TP
.I /run/fips/control.sock
The socket, where that directory exists; else below \\fI$XDG_RUNTIME_DIR/fips\\fR, else in \\fI/tmp\\fR.
.TP
.I /etc/meshnode/hosts
Names of nodes, where
.I /etc/meshnode/fips.yaml
is the configuration; else
.I /etc/fips/hosts
is.
.SH SEE ALSO
.BR meshnode (8),
.BR meshtop (1)
"""


_SCREEN_HEAD = """\
.TH MESHTOP 1 "" "meshnode" "User Commands"
.SH NAME
meshtop \\- watch a node of a mesh live
.SH SYNOPSIS
.B meshtop
[\\fB\\-s\\fR \\fIPATH\\fR] [\\fB\\-r\\fR \\fISECONDS\\fR]
.SH DESCRIPTION
A live screen of a running node, for terminals from 80 by 24 characters on: the node and what is wrong with it, its
peers, links, sessions, the tree drawn, routing and filters, transports, graphs of the last hour, and the log. It only
asks the node's control socket, and needs the library textual (\\fBpip install meshnode[top]\\fR).
"""
_SCREEN_TAIL = """\
.SH EXIT STATUS
0, or 1 without a terminal or without the library, or 2 for wrong usage. A node that does not answer is asked again.
.SH SEE ALSO
.BR meshctl (1),
.BR meshnode (8)
"""


def screen_manual(top: Command, keys: Sequence[tuple[str, str]]) -> str:
    """The page of `meshtop`; `keys` are keys and what they do."""
    shown = (f".TP\n.B {_escaped(key)}\n{_escaped(what[:1].upper() + what[1:])}.\n" for key, what in keys)
    return "".join([_SCREEN_HEAD, ".SH OPTIONS\n", *_options(top.options), ".SH KEYS\n", *shown, _SCREEN_TAIL])


def manual(top: Command) -> str:
    """The page of `meshctl`, for man."""
    lines = [_HEAD, ".SH OPTIONS\n", *_options(top.options), ".SH COMMANDS\n"]
    for command in top.walk():
        if command is not top and not command.commands:
            lines += _command(command)
    return "".join([*lines, _TAIL])


def _command(command: Command) -> Iterator[str]:
    words = " ".join(command.path[1:])
    arguments = " ".join(f"\\fI{_escaped(one.value or '')}\\fR" for one in command.positionals)
    yield f".SS \\fB{_escaped(words)}\\fR {arguments}".rstrip() + "\n"
    yield f"{_escaped(command.description)}\n"
    yield from _options(
        [option for option in command.options if "--help" not in option.names and not _is_common(option)]
    )
    yield from _options([one for one in command.positionals if one.help])


def _is_common(option: Option) -> bool:
    return "--json" in option.names or "--socket" in option.names


def _options(options: list[Option]) -> Iterator[str]:
    for option in options:
        value = "" if option.value is None else f" \\fI{_escaped(option.value)}\\fR"
        names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in option.names)
        yield f".TP\n{names}{value}\n" if names else f".TP\n{value.strip()}\n"
        text = option.help if option.choices else option.help[:1].upper() + option.help[1:]
        yield f"{_escaped(text)}.\n"


def _escaped(text: str) -> str:
    """Text in which nothing is taken for a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
