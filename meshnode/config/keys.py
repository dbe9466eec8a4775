"""Building blocks of the schema: what a key holds, and how sections are read, overlaid and built.

A section of the file is a subclass of `Section` whose attributes are named exactly like its keys and declared with
`key`, `optional`, `required`, `block` or `instances`. Nothing is compiled per class (attrs would do that for some forty
of them, which takes three times as long as all the rest of loading). Reading gives nested dictionaries of only those
keys that the file sets, so that a second file can be laid over the first key by key; `build` then turns the result into
objects, filling in defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, ClassVar, Final, Generic, TypeVar, dataclass_transform

from meshnode.config.document import MappingNode, Node, ScalarNode, SequenceNode
from meshnode.config.errors import ConfigError, Place
from meshnode.config.yaml12 import (
    Cursor,
    clip,
    is_empty,
    is_null,
    to_bool,
    to_choice,
    to_float,
    to_integer,
    to_strict_text,
    to_text,
)

T = TypeVar("T")
Values = dict[str, Any]
"""Keys that a file sets: converted values, or `Values` again for a nested section."""

MOST_LISTED: Final = 12
"""Sections with more keys than this are not listed in an error."""


class Kind(Generic[T]):
    """The type of a key: `label` for the reference page, `read` for the conversion."""

    def __init__(self, label: str, read: Callable[[Cursor, Reader], T]) -> None:
        self.label = label
        self.read = read


class Key:
    """What the schema knows of one key; `default` makes its default value, and is None when the key is required."""

    __slots__ = ("default", "help", "kind", "nullable", "old_name", "secret")

    def __init__(
        self,
        kind: Kind[Any],
        text: str,
        default: Callable[[], Any] | None,
        *,
        nullable: bool = False,
        secret: bool = False,
        old_name: str | None = None,
    ) -> None:
        self.kind = kind
        self.help = text
        self.default = default
        self.nullable = nullable
        self.secret = secret
        self.old_name = old_name


@dataclass_transform(kw_only_default=True)
class Section:
    """Base of every section class; `STRICT` sections refuse keys they do not know, others only report them."""

    STRICT: ClassVar[bool] = False
    TITLE: ClassVar[str] = "this section"
    KEYS: ClassVar[Mapping[str, Key]] = {}
    """The keys by name, in the order of the schema."""
    NEEDED: ClassVar[frozenset[str]] = frozenset()
    """The keys that have to be set."""
    SPELLINGS: ClassVar[Mapping[str, str]] = {}
    """Older names of keys, to the names they have now."""
    REST: ClassVar[str] = ""
    """Name of the attribute that takes keys the section does not know: a dictionary of `Cursor`s. Empty for none."""

    def __init_subclass__(cls) -> None:
        cls.KEYS = {name: value for name, value in vars(cls).items() if isinstance(value, Key)}
        cls.NEEDED = frozenset(name for name, known in cls.KEYS.items() if known.default is None)
        cls.SPELLINGS = {known.old_name: name for name, known in cls.KEYS.items() if known.old_name}
        for name in cls.KEYS:
            delattr(cls, name)

    def __init__(self, **values: Any) -> None:
        for name, known in self.KEYS.items():
            if name in values:
                setattr(self, name, values.pop(name))
            elif known.default is not None:
                setattr(self, name, known.default())
            else:
                raise TypeError(f"{type(self).__name__} needs {name}")
        if self.REST:
            setattr(self, self.REST, values.pop(self.REST, {}))
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.KEYS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name, key in self.KEYS.items() if not key.secret}
        texts = (f"{name}={'(not shown)' if _is_nsec(value) else repr(value)}" for name, value in shown.items())
        return f"{type(self).__name__}({', '.join(texts)})"


def _is_nsec(value: object) -> bool:
    """Whether a key of the operator's stands where it does not belong."""
    return isinstance(value, str) and value.lower().startswith("nsec1")


S = TypeVar("S", bound=Section)


def _declare(known: Key) -> Any:
    """The declaration as what the attribute will be: to a type checker, the value itself."""
    return known


def key(
    kind: Kind[T],
    default: T,
    text: str,
    *,
    nullable: bool = False,
    secret: bool = False,
    old_name: str | None = None,
) -> T:
    """A key with a default; with `nullable`, null and nothing at all mean the default too."""
    make = (lambda: copy(default)) if isinstance(default, list) else (lambda: default)
    known = Key(kind, text, make, nullable=nullable, secret=secret, old_name=old_name)
    return _declare(known)  # type: ignore[no-any-return]


def optional(kind: Kind[T], text: str, *, secret: bool = False) -> T | None:
    """A key that may stay unset."""
    return _declare(Key(kind, text, lambda: None, nullable=True, secret=secret))  # type: ignore[no-any-return]


def required(kind: Kind[T], text: str) -> T:
    """A key without which its section means nothing."""
    return _declare(Key(kind, text, None))  # type: ignore[no-any-return]


def block(cls: type[S], text: str = "") -> S:
    """A nested section whose keys overlay one by one."""
    return _declare(Key(Block(cls), text, cls))  # type: ignore[no-any-return]


def instances(cls: type[S], text: str) -> dict[str | None, S]:
    """A transport type: instances by name in the order of the file, the unnamed one under None."""
    return _declare(Key(Instances(cls), text, dict))  # type: ignore[no-any-return]


def replaced(cls: type[Section], text: str) -> Values | None:
    """An older section: its keys are read, moved elsewhere while loading, and nothing of it is built."""
    return optional(Kind("section", lambda at, reader: reader.section(at, cls)), text)


class Reader:
    """State of reading one file: where every key stood, and what was ignored.

    With `faults` what cannot be read is put there, and left out where that is possible; else the first one is raised.
    """

    def __init__(self, file: str, faults: list[ConfigError] | None = None) -> None:
        self.file = file
        self._faults = faults
        self.places: dict[str, Place] = {}
        self.warnings: list[str] = []
        self.untyped = False
        self.trying = False  # one shape of a section after the other, so that the first fault has to end it

    def cursor(self, node: Node, path: str) -> Cursor:
        """A cursor on `node`, remembering where `path` was set."""
        self.places[path] = node.place
        return Cursor(node, path)

    def warn(self, node: Node, text: str) -> None:
        """Note something the operator should know about a part of the file."""
        self.warnings.append(f"{self.file} line {node.place.line}: {text}")

    @property
    def collects(self) -> bool:
        """Whether what is wrong is left out, and the rest read on."""
        return self._faults is not None and not self.trying

    def leave_out(self, error: ConfigError) -> None:
        """Go on without what is wrong, or raise the error where that is not asked for."""
        if self._faults is None or self.trying:
            raise error
        self._faults.append(error)

    def section(self, at: Cursor, cls: type[Section]) -> Values:
        """Keys that the mapping at `at` sets."""
        pairs: list[tuple[Node, Node]] = []
        if isinstance(at.node, MappingNode):
            pairs = at.node.pairs
        elif self.untyped or not is_empty(at.node):
            at.mismatch(f"the keys of {cls.TITLE} there, or leave it out")
        values: Values = {}
        seen: set[str] = set()
        of_needed: ConfigError | None = None
        for key_node, node in pairs:
            try:
                self._entry(at, cls, key_node, node, values, seen)
            except ConfigError as error:
                if self.collects and of_needed is None and error.key.removeprefix(f"{at.key}.") in cls.NEEDED:
                    of_needed = error
                else:
                    self.leave_out(error)
        if of_needed is not None:
            raise of_needed
        for name in cls.KEYS:
            if name in cls.NEEDED and name not in values:
                at.refuse("missing field", f"`{name}` is missing; {cls.TITLE} needs it")
        return values

    def _entry(
        self, at: Cursor, cls: type[Section], key_node: Node, node: Node, values: Values, seen: set[str]
    ) -> None:
        written = self.key_text(Cursor(key_node, at.key))
        name = cls.SPELLINGS.get(written, written)
        known = cls.KEYS.get(name)
        path = f"{at.key}.{name}" if at.key else name
        if known is None and not cls.REST:
            self._unknown(Cursor(key_node, at.key), cls, written)
            return
        if name in seen:
            Cursor(key_node, path).refuse("duplicate field", "is set twice; keep one of the two")
        seen.add(name)
        cursor = self.cursor(node, path)
        if known is None:
            values.setdefault(cls.REST, {})[name] = cursor
        elif not (known.nullable and is_null(node)):
            values[name] = known.kind.read(cursor, self)

    def key_text(self, at: Cursor) -> str:
        """The name written at a key position; in an untyped part it must be a string."""
        if not isinstance(at.node, ScalarNode):
            at.mismatch("a key name")
        return to_strict_text(at) if self.untyped else at.node.text

    def _unknown(self, at: Cursor, cls: type[Section], name: str) -> None:
        suggestion = closest(name, cls.KEYS)
        path = f"{at.key}.{clip(name)}" if at.key else clip(name)
        if cls.STRICT:
            known = f"write one of {', '.join(cls.KEYS)}" if len(cls.KEYS) <= MOST_LISTED else "remove it"
            advice = f"did you mean `{suggestion}`?" if suggestion else known
            at.refuse("unknown field", f"`{clip(name)}` is not a key of {cls.TITLE}; {advice}")
        advice = f"; did you mean `{suggestion}`?" if suggestion else ""
        self.warn(at.node, f"unknown key {path} is ignored{advice}")


def closest(name: str, names: Mapping[str, object]) -> str | None:
    """The known name most like a mistyped one, None when nothing is near."""
    from difflib import get_close_matches

    found = get_close_matches(clip(name).lower(), list(names), n=1)
    return found[0] if found else None


class Block(Kind[Values]):
    """A nested section; reading it gives the keys it sets."""

    def __init__(self, cls: type[Section]) -> None:
        super().__init__("section", lambda at, reader: reader.section(at, cls))
        self.cls = cls


class Whole(Kind[S]):
    """A section that a higher file replaces as one value."""

    def __init__(self, cls: type[S]) -> None:
        super().__init__("section", lambda at, reader: build(cls, reader.section(at, cls)))
        self.cls = cls


class Many(Kind[list[T]]):
    """A list, replaced as one value."""

    def __init__(self, item: Kind[T]) -> None:
        super().__init__(f"list of {item.label}", self._read)
        self.item = item

    def _read(self, at: Cursor, reader: Reader) -> list[T]:
        if is_empty(at.node) and not reader.untyped:
            return []
        if not isinstance(at.node, SequenceNode):
            at.mismatch("a list, one item per line after a dash, or [] for none")
        items = []
        for number, node in enumerate(at.node.items):
            try:
                items.append(self.item.read(reader.cursor(node, f"{at.key}[{number}]"), reader))
            except ConfigError as error:
                reader.leave_out(error)
        return items


class Instances(Kind[dict[str | None, S]]):
    """A transport type: one unnamed instance or a mapping of named ones, tried in this order (spec 05 section 2.2)."""

    def __init__(self, cls: type[S]) -> None:
        super().__init__("instances", self._read)
        self.cls = cls

    def _read(self, at: Cursor, reader: Reader) -> dict[str | None, S]:
        if not isinstance(at.node, MappingNode):
            at.mismatch(f"{{}} for {self.cls.TITLE} with defaults, or its keys below it")
        reader.untyped = True
        try:
            return self._either(at, at.node, reader)
        finally:
            reader.untyped = False

    def _either(self, at: Cursor, node: MappingNode, reader: Reader) -> dict[str | None, S]:
        reader.trying = True
        try:
            return self._unnamed(at, reader)
        except ConfigError as unnamed:
            try:
                return self._named(at, node, reader)
            except ConfigError as named:
                reader.trying = False
                is_named = self._looks_named(node)
                if not reader.collects:
                    raise (named if is_named else unnamed) from None
                return self._named(at, node, reader) if is_named else self._unnamed(at, reader)
        finally:
            reader.trying = False

    def _unnamed(self, at: Cursor, reader: Reader) -> dict[str | None, S]:
        return {None: build(self.cls, reader.section(at, self.cls))}

    def _named(self, at: Cursor, node: MappingNode, reader: Reader) -> dict[str | None, S]:
        instances: dict[str | None, S] = {}
        for key_node, value in node.pairs:
            try:
                self._add_named(at, key_node, value, instances, reader)
            except ConfigError as error:
                reader.leave_out(error)
        return instances

    def _add_named(
        self, at: Cursor, key_node: Node, value: Node, instances: dict[str | None, S], reader: Reader
    ) -> None:
        name = reader.key_text(Cursor(key_node, at.key))
        cursor = reader.cursor(value, f"{at.key}.{clip(name)}")
        if name in instances:
            cursor.refuse("duplicate field", "is an instance name used twice; rename one of the two")
        if not isinstance(value, MappingNode):
            cursor.mismatch(f"{{}} for {self.cls.TITLE} of that name with defaults, or its keys below it")
        instances[name] = build(self.cls, reader.section(cursor, self.cls))

    def _looks_named(self, node: MappingNode) -> bool:
        known = self.cls.KEYS
        shaped = all(isinstance(value, MappingNode) or is_null(value) for _, value in node.pairs)
        return shaped and any(not (isinstance(key, ScalarNode) and key.text in known) for key, _ in node.pairs)


def build(cls: type[S], values: Values) -> S:
    """Make the section object from the keys that are set; the rest takes its default."""
    arguments = {}
    for name, known in cls.KEYS.items():
        if isinstance(known.kind, Block):
            arguments[name] = build(known.kind.cls, values.get(name, {}))
        elif name in values:
            arguments[name] = values[name]
    if cls.REST:
        arguments[cls.REST] = values.get(cls.REST, {})
    return cls(**arguments)


def overlay(lower: Values, higher: Values) -> Values:
    """Lay one file over another: sections key by key, everything else as whole values; changes neither."""
    result = dict(lower)
    for name, value in higher.items():
        below = result.get(name)
        both = isinstance(value, dict) and isinstance(below, dict) and not _holds_instances(value)
        result[name] = overlay(below, value) if both and isinstance(below, dict) else value
    return result


def _holds_instances(value: Mapping[Any, object]) -> bool:
    return any(isinstance(item, Section) for item in value.values())


def leaves(section_: Section, path: str = "") -> Iterator[tuple[Section, str, str, Key]]:
    """Every key of a section and of the blocks below it: its owner, its name, its dotted path, and the key."""
    for name, known in section_.KEYS.items():
        below = f"{path}.{name}" if path else name
        if isinstance(known.kind, Block):
            yield from leaves(getattr(section_, name), below)
        else:
            yield section_, name, below, known


def _integer(maximum: int) -> Kind[int]:
    label = f"integer, 0 to {maximum}" if maximum < 2**31 else "integer"
    return Kind(label, lambda at, reader: to_integer(at, maximum))


def choice(*choices: str) -> Kind[Any]:
    """One of a few words."""
    return Kind(" / ".join(f"`{c}`" for c in choices), lambda at, reader: to_choice(at, choices))


BOOL: Final = Kind("boolean", lambda at, reader: to_bool(at))
U8: Final = _integer(2**8 - 1)
U16: Final = _integer(2**16 - 1)
U32: Final = _integer(2**32 - 1)
U64: Final = _integer(2**64 - 1)
FLOAT: Final = Kind("number", lambda at, reader: to_float(at))
TEXT: Final = Kind("text", lambda at, reader: (to_strict_text if reader.untyped else to_text)(at))
TEXTS: Final = Many(TEXT)
