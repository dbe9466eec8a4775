"""Completion scripts for bash, zsh and fish, made from the command line itself.

Where a peer is asked for, the names the node knows are offered, through `meshctl completion names`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .grammar import Command

NAMES_COMMAND = "meshctl completion names 2>/dev/null"


def _words(command: Command) -> list[str]:
    """Everything that may follow a command as a fixed word."""
    choices = [choice for positional in command.positionals for choice in positional.choices]
    return [*command.names, *choices]


def _options(command: Command) -> list[str]:
    return [name for option in command.options for name in option.names]


def _asks_peer(command: Command) -> bool:
    return any(positional.is_peer for positional in command.positionals)


def bash(top: Command) -> str:
    """A script to be read by bash."""
    cases = []
    for command in top.walk():
        key = " ".join(command.path[1:])
        names = f" $({NAMES_COMMAND})" if _asks_peer(command) else ""
        cases.append(
            f"""    "{key}") words="{" ".join(_words(command))}{names}"; options="{" ".join(_options(command))}" ;;"""
        )
    known = " ".join(f'"{" ".join(command.path[1:])}"' for command in top.walk() if command is not top)
    return f"""\
# Completion of meshctl for bash: source <(meshctl completion bash)
_meshctl() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} path="" word words options index known candidate
  known=({known})
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${{COMP_WORDS[index]}}
    for candidate in "${{known[@]}}"; do
      if [ "${{path:+$path }}$word" = "$candidate" ]; then path=$candidate; break; fi
    done
  done
  case "$path" in
{chr(10).join(cases)}
  esac
  case "$current" in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
  esac
}}
complete -o default -F _meshctl meshctl
"""


def zsh(top: Command) -> str:
    """A script to be read by zsh, or to lie as `_meshctl` in its function path."""
    cases = []
    for command in top.walk():
        described = [f"{child.path[-1]}:{_zsh(child.summary)}" for child in command.commands]
        described += [choice for positional in command.positionals for choice in positional.choices]
        described += [f"{name}:{_zsh(option.help)}" for option in command.options for name in option.names]
        items = " ".join(f"'{item}'" for item in described)
        names = f' items+=("${{(@f)$({NAMES_COMMAND})}}");' if _asks_peer(command) else ""
        cases.append(f"""    "{" ".join(command.path[1:])}") items=({items});{names} ;;""")
    known = " ".join(f'"{" ".join(command.path[1:])}"' for command in top.walk() if command is not top)
    return f"""\
#compdef meshctl
# Completion of meshctl for zsh: source <(meshctl completion zsh)
_meshctl() {{
  local spoken="" word candidate
  local -a known items
  known=({known})
  for word in ${{words[2,CURRENT-1]}}; do
    for candidate in $known; do
      if [[ "${{spoken:+$spoken }}$word" == "$candidate" ]]; then spoken=$candidate; break; fi
    done
  done
  case "$spoken" in
{chr(10).join(cases)}
  esac
  _describe meshctl items
}}
compdef _meshctl meshctl
"""


def _zsh(text: str) -> str:
    return text.replace("'", "").replace(":", "")


def fish(top: Command) -> str:
    """A script to be read by fish."""
    lines = ["# Completion of meshctl for fish: meshctl completion fish | source", "complete -c meshctl -f"]
    for command in top.walk():
        here = _fish_condition(command)
        for child in command.commands:
            lines.append(f"complete -c meshctl -n '{here}' -a {child.path[-1]} -d {_fish(child.summary)}")
        for positional in command.positionals:
            for choice in positional.choices:
                lines.append(f"complete -c meshctl -n '{here}' -a {choice}")
        if _asks_peer(command):
            lines.append(f"complete -c meshctl -n '{here}' -a '({NAMES_COMMAND})'")
        for option in command.options:
            flags = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            value = " -r" if option.value is not None else ""
            lines.append(f"complete -c meshctl -n '{here}' {flags}{value} -d {_fish(option.help)}")
    return "\n".join(lines) + "\n"


def _fish_condition(command: Command) -> str:
    """Holds when exactly the words of this command have been typed."""
    words = command.path[1:]
    if not words:
        return "__fish_use_subcommand"
    seen = " && ".join(f"__fish_seen_subcommand_from {word}" for word in words)
    below = f" && not __fish_seen_subcommand_from {' '.join(command.names)}" if command.commands else ""
    return seen + below


def _fish(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


SHELLS: Mapping[str, Callable[[Command], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
