"""The format of `peers.allow` and `peers.deny` (spec 07 section 8): reading, and changing one entry of a person's file.

One token a line: `ALL`, an npub, or a name; everything from `#` on is a comment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from string import hexdigits

EVERYBODY = "ALL"
_HEX_KEY = 64


def is_everybody(token: str) -> bool:
    """Whether a token stands for every node there is."""
    return token.upper() == EVERYBODY


@dataclass(slots=True)
class AccessList:
    """What one file says: its tokens with their lines, without repeats, and the lines that cannot be read."""

    everybody: bool = False
    tokens: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)


def parse(text: str) -> AccessList:
    """Read a file; a line with more than one word is a problem and is left out."""
    found = AccessList()
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        if len(words) > 1:
            found.problems.append((number, f"one npub or name a line, found {len(words)} words: the line is left out"))
        elif words and _may_be_secret(words[0]):
            found.problems.append((number, "that looks like a secret key; write the npub: the line is left out"))
        elif words and is_everybody(words[0]):
            found.everybody = True
        elif words:
            found.tokens.setdefault(words[0], number)
    return found


def with_entry(text: str, token: str, comment: str = "") -> str:
    """The file with one more entry at its end."""
    start = f"{text}\n" if text and not text.endswith("\n") else text
    return f"{start}{token}{f'  # {comment}' if comment else ''}\n"


def without_entries(text: str, is_meant: Callable[[str], bool]) -> str:
    """The file without the lines whose token is meant; comments and everything else stay as they are."""
    kept = []
    for line in text.splitlines(keepends=True):
        words = _words(line)
        if len(words) != 1 or not is_meant(words[0]):
            kept.append(line)
    return "".join(kept)


def _may_be_secret(token: str) -> bool:
    """Whether a token is, or may be, something that must not be repeated to anybody."""
    return token.lower().startswith("nsec1") or (len(token) == _HEX_KEY and all(c in hexdigits for c in token))


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()
