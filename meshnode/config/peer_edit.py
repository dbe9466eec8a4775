"""Add a peer to the text of a configuration file, or take one out, and leave everything else as the operator wrote it.

The text is changed at the places PyYAML's marks point to, never written anew. Whoever calls checks the result by
reading it, because a file can be written in ways nobody thought of.
"""

from __future__ import annotations

from typing import Any

import yaml

_STEP = "  "


class EditError(ValueError):
    """The text cannot be changed; the message says what to do by hand."""


def with_peer(text: str, npub: str, alias: str | None, transport: str, address: str) -> str:
    """The text with that peer at that address; a peer that is there only gets the address."""
    root = _root(text)
    peers = _value(root, "peers")
    lines = _peer_lines(npub, alias, transport, address)
    if peers is None and root is not None and root.flow_style:
        raise EditError(f"it is written in braces and has no peers; add {{{', '.join(_flat(lines))}}} by hand")
    if peers is None:
        end = "" if not text or text.endswith("\n") else "\n"
        return text + end + "peers:\n" + _item(_STEP, lines)
    item = _find(peers, npub)
    if item is None:
        return _append_in_line(text, peers, lines) if root.flow_style else _append(text, peers, lines)
    addresses = _value(item, "addresses")
    if addresses is None:
        raise EditError(f"{npub} has no `addresses` there; add {_flow(transport, address)} by hand")
    if _has(addresses, transport, address):
        return text
    return _append(text, addresses, [_flow(transport, address)])


def without_peer(text: str, npub: str) -> str:
    """The text without that peer, however often it is named; unchanged when it is not there."""
    while (shorter := _without_first(text, npub)) != text:
        text = shorter
    return text


def _without_first(text: str, npub: str) -> str:
    peers = _value(_root(text), "peers")
    item = None if peers is None else _find(peers, npub)
    if peers is None or item is None:
        return text
    position = peers.value.index(item)
    if peers.flow_style:
        begin, end = _span_in_line(peers.value, position)
        return text[:begin] + text[end:]
    begin = _line_start(text, item.start_mark.index)
    if position + 1 < len(peers.value):
        end = _line_start(text, peers.value[position + 1].start_mark.index)
    else:
        end = _after_line(text, _last_mark(item))
    if len(peers.value) == 1:
        colon = text.rindex(":", 0, begin)
        return f"{text[: colon + 1]} []{text[colon + 1 : begin]}{text[end:]}"
    return text[:begin] + text[end:]


def _span_in_line(items: list[Any], position: int) -> tuple[int, int]:
    """Where an item of a list in brackets stands, with the comma that goes with it."""
    begin, end = items[position].start_mark.index, items[position].end_mark.index
    if position + 1 < len(items):
        return begin, items[position + 1].start_mark.index
    return (items[position - 1].end_mark.index if position else begin), end


def _root(text: str) -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise EditError(f"it is not YAML: {error}") from None
    except RecursionError:
        raise EditError("it is nested too deeply; make it flatter by hand") from None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise EditError("it holds no keys")
    return root


def _value(mapping: Any, name: str) -> Any:
    if mapping is None:
        return None
    return next((value for key, value in mapping.value if getattr(key, "value", None) == name), None)


def _find(peers: Any, npub: str) -> Any:
    if not isinstance(peers, yaml.SequenceNode):
        return None
    items = [item for item in peers.value if isinstance(item, yaml.MappingNode)]
    return next((item for item in items if getattr(_value(item, "npub"), "value", None) == npub), None)


def _has(addresses: Any, transport: str, address: str) -> bool:
    items = addresses.value if isinstance(addresses, yaml.SequenceNode) else []
    wanted = (transport, address)
    found = ((getattr(_value(i, "transport"), "value", ""), getattr(_value(i, "addr"), "value", "")) for i in items)
    return wanted in found


def _append(text: str, sequence: Any, lines: list[str]) -> str:
    """Put an item, given as lines of block style, at the end of a list that may be empty or written in one line."""
    if isinstance(sequence, yaml.ScalarNode):  # nothing after the colon
        if sequence.value:
            raise EditError(f"there is no list but `{sequence.value}`")
        at = sequence.start_mark.index
        indent = " " * _indent_of(text, at) + _STEP
        return f"{text[:at]}\n{_item(indent, lines).rstrip()}{text[at:]}"
    if sequence.flow_style:
        return _append_in_line(text, sequence, lines) if sequence.value else _begin_block(text, sequence, lines)
    at = _after_line(text, _last_mark(sequence))
    gap = "" if text[:at].endswith("\n") else "\n"
    return text[:at] + gap + _item(" " * sequence.start_mark.column, lines) + text[at:]


def _begin_block(text: str, sequence: Any, lines: list[str]) -> str:
    """Turn an empty list in brackets into a block with one item."""
    begin = sequence.start_mark.index
    indent = " " * _indent_of(text, begin) + _STEP
    return f"{text[:begin].rstrip(' ')}\n{_item(indent, lines).rstrip()}{text[sequence.end_mark.index :]}"


def _append_in_line(text: str, sequence: Any, lines: list[str]) -> str:
    bracket = sequence.end_mark.index - 1
    comma = ", " if sequence.value else ""
    item = lines[0] if len(lines) == 1 else "{" + ", ".join(_flat(lines)) + "}"
    return f"{text[:bracket]}{comma}{item}{text[bracket:]}"


def _flat(lines: list[str]) -> list[str]:
    """Block lines of a peer as the members of a flow mapping; its one address is the last line."""
    *members, head, address = lines
    return [*map(_quoted_key, members), f"{_quoted_key(head)} [{address.strip().removeprefix('- ')}]"]


def _quoted_key(line: str) -> str:
    """`key: value` with the key in quotes, as JSON and YAML both want it in one line."""
    name, colon, value = line.partition(":")
    return f'"{name}"{colon}{value}'


def _peer_lines(npub: str, alias: str | None, transport: str, address: str) -> list[str]:
    name = [] if alias is None else [f"alias: {_quoted(alias)}"]
    return [f"npub: {npub}", *name, "addresses:", f"{_STEP}- {_flow(transport, address)}"]


def _flow(transport: str, address: str) -> str:
    return f"{{ transport: {_quoted(transport)}, addr: {_quoted(address)} }}"


def _quoted(value: str) -> str:
    """A scalar that YAML takes for this text and nothing else."""
    is_plain = value[:1].isalpha() and all(part.isalnum() for part in value.replace("-", "x"))
    if is_plain and value.lower() not in ("true", "false", "null", "yes", "no", "on", "off"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _item(indent: str, lines: list[str]) -> str:
    first, *rest = lines
    return "".join([f"{indent}- {first}\n", *(f"{indent}{_STEP}{line}\n" for line in rest)])


def _last_mark(node: Any) -> int:
    """Where the last thing written in a node ends; the end of a block itself lies beyond the comments after it."""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False) or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return max(map(_last_mark, last)) if isinstance(last, tuple) else _last_mark(last)


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _after_line(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _indent_of(text: str, index: int) -> int:
    line = text[_line_start(text, index) : index]
    return len(line) - len(line.lstrip(" "))
