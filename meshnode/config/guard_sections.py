"""Keys of this program about who gets in, what is told, and to whom: access, firewall, log and hooks."""

from __future__ import annotations

from typing import Literal

from meshnode.config.keys import BOOL, TEXT, TEXTS, U16, Many, Section, block, choice, key, optional
from meshnode.paths import ALLOW_FILE, DENY_FILE, RULES_DIRECTORY

LogForm = Literal["text", "json", "journald"]
_LEVEL = choice("trace", "debug", "info", "warn", "error")


class AccessSection(Section):
    """Where the lists lie that say who may be a peer."""

    TITLE = "the access section"

    allow_file: str = key(TEXT, str(ALLOW_FILE), "Nodes that are always welcome.", nullable=True)
    deny_file: str = key(TEXT, str(DENY_FILE), "Nodes that are not; `ALL` for everybody else.", nullable=True)


class FirewallSection(Section):
    """What the mesh may reach on this machine through the network interface."""

    TITLE = "the firewall section"

    enabled: bool = key(
        BOOL,
        False,
        "Let in only answers, echo requests and what is listed here, by a table `inet fips` of nftables; it is there "
        "while the node runs.",
    )
    allow_tcp: list[int] = key(Many(U16), [], "TCP ports that are open.")
    allow_udp: list[int] = key(Many(U16), [], "UDP ports that are open.")
    rules_dir: str = key(
        TEXT, str(RULES_DIRECTORY), "Directory whose `*.nft` files hold further rules for the chain, one a line."
    )


class HooksSection(Section):
    """A program of yours that hears of events."""

    TITLE = "the hooks section"

    on_event: str | None = optional(
        TEXT,
        "Command that is run for each event, without a shell, as the user of the node; it gets the event as a line "
        "of JSON on standard input. One runs at a time, 10 seconds at most, 5 a second.",
    )
    events: list[str] = key(TEXTS, [], "Kinds of event it is run for; none for all.")


class LogLevelsSection(Section):
    """Levels of single subsystems; unset ones have `node.log_level`."""

    TITLE = "the levels section"

    node: str | None = optional(_LEVEL, "Start, stop, and whatever belongs nowhere else.")
    access: str | None = optional(_LEVEL, "Who was refused.")
    config: str | None = optional(_LEVEL, "Reading the configuration again.")
    keys: str | None = optional(_LEVEL, "Rekeys.")
    limits: str | None = optional(_LEVEL, "Limits that were reached.")
    link: str | None = optional(_LEVEL, "Links with peers.")
    names: str | None = optional(_LEVEL, "Questions for names.")
    routing: str | None = optional(_LEVEL, "Lookups and path MTUs.")
    session: str | None = optional(_LEVEL, "End-to-end sessions.")
    transport: str | None = optional(_LEVEL, "Transports that come and go.")
    tree: str | None = optional(_LEVEL, "The place in the spanning tree.")


class LogSection(Section):
    """How the log looks."""

    TITLE = "the log section"

    format: LogForm = key(
        choice("text", "json", "journald"),
        "text",
        "Lines of text, one JSON object a line, or entries of the system's journal with fields to search by.",
    )
    levels: LogLevelsSection = block(LogLevelsSection)

    @property
    def by_subsystem(self) -> dict[str, str]:
        """The levels that are set."""
        found = {name: getattr(self.levels, name) for name in LogLevelsSection.KEYS}
        return {name: level for name, level in found.items() if level is not None}


class CaptureSection(Section):
    """What `meshctl capture` may do; whoever may use the control socket may capture frames as they are."""

    TITLE = "the capture section"

    decrypt: bool = key(BOOL, False, "Whether captures may show what is inside the frames of this node.")
