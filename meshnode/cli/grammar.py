"""The command line as data: what completion scripts and manual pages are made of."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Option:
    """An option or a positional argument; positionals have no `names`."""

    names: list[str]
    value: str | None
    help: str
    choices: list[str]

    @property
    def is_peer(self) -> bool:
        return (self.value or "").startswith("PEER")


@dataclass(slots=True)
class Command:
    """A command with everything below it. `path` are the words that lead to it, the program's name first."""

    path: tuple[str, ...]
    summary: str
    description: str
    options: list[Option] = field(default_factory=list)
    positionals: list[Option] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def walk(self) -> Iterator[Command]:
        """This command and all below it, depth first."""
        yield self
        for command in self.commands:
            yield from command.walk()

    @property
    def names(self) -> list[str]:
        return [command.path[-1] for command in self.commands]


def grammar(parser: argparse.ArgumentParser) -> Command:
    """Read a parser."""
    return _read(parser, (parser.prog,), parser.description or "")


def _read(parser: argparse.ArgumentParser, path: tuple[str, ...], summary: str) -> Command:
    command = Command(path, summary, parser.description or "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            command.commands += [
                _read(child, (*path, name), texts.get(name, "")) for name, child in action.choices.items()
            ]
        elif action.option_strings:
            command.options.append(_option(parser, action))
        else:
            command.positionals.append(_option(parser, action))
    return command


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    takes_value = action.nargs != 0
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    text = (action.help or "") % {"default": action.default, "prog": parser.prog}
    choices = [str(choice) for choice in action.choices or ()]
    return Option(list(action.option_strings), value if takes_value else None, text, choices)
