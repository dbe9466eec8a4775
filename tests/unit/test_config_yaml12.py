"""Scalars and documents are read by the rules of YAML 1.2, with PyYAML's fast parser and with its slow one."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshnode.config import document, yaml12
from meshnode.config.document import compose
from meshnode.config.errors import ConfigError
from meshnode.config.load import parse
from meshnode.config.yaml12 import Cursor, clip, describe, is_string, parse_float, parse_integer


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers; where PyYAML comes without the fast one, the slow one twice."""
    monkeypatch.setattr(document, "_Loader", getattr(yaml, request.param, yaml.SafeLoader))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("+7", 7), ("0x1F", 31), ("0o17", 15), ("0b101", 5), ("18446744073709551615", 2**64 - 1)],
)
def test_integer_forms(text: str, value: int) -> None:
    assert parse_integer(text) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "0600", "00", "1_000", "1.0", "1e3", "0X10", "0x", "0x+1", "++1", "12:30", "٣", "9" * 5000]
)
def test_not_integers(text: str) -> None:
    assert parse_integer(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("5.", 5.0), (".5", 0.5), ("+.5", 0.5), ("1e-1", 0.1), ("-0.5", -0.5), ("-.inf", -math.inf)],
)
def test_float_forms(text: str, value: float) -> None:
    assert parse_float(text) == value


@pytest.mark.parametrize("text", ["", ".", "inf", "nan", "0x1", "1_0.0", "1e", "e5", "+-1", "1e999", "0.2s"])
def test_not_floats(text: str) -> None:
    assert parse_float(text) is None


def test_nan_is_read_as_such() -> None:
    value = parse_float(".NaN")
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eth0", True),
        ('"123"', True),
        ("'true'", True),
        ("0600", True),
        ("yes", True),
        ("2026-01-01", True),
        ("11:22:33:44:55:06", True),
        ("123", False),
        ("-5", False),
        ("0x10", False),
        ("1.5", False),
        (".inf", False),
        ("true", False),
        ("~", False),
        ("[a]", False),
    ],
)
def test_untyped_strings(text: str, expected: bool) -> None:
    root = compose(text, "t.yaml")
    assert root is not None
    assert is_string(root) is expected


@pytest.mark.usefixtures("loader")
class TestDocuments:
    @pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "  \n\n", "\ufeff# marked\n", "---\n...\n"])
    def test_nothing_in_the_file(self, text: str) -> None:
        config, warnings = parse(text)
        assert config == parse("{}")[0]
        assert warnings == []

    def test_a_mark_at_the_start_is_skipped(self) -> None:
        assert parse("\ufefftun: {mtu: 1300}\n")[0].tun.mtu == 1300

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a: 1\n---\nb: 2\n", "several documents"),
            ("dns: *nope\n", "unknown anchor"),
            ("dns: [1\n", "syntax"),
            ("node:\n\tlog_level: info\n", "syntax"),
            ('tun: {name: "a\0b"}\n', "syntax"),
            ("null\n", "invalid type"),
            ("- a\n", "invalid type"),
            ("hello\n", "invalid type"),
        ],
    )
    def test_documents_that_are_refused(self, text: str, problem: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(text, "t.yaml")
        assert caught.value.problem == problem

    @pytest.mark.parametrize("text", ["node:\n\tlog_level: info\n", "a:\n  b: 1\n\tc: 2\n"])
    def test_a_tab_is_called_one(self, text: str) -> None:
        with pytest.raises(ConfigError, match="this is a tab, write spaces"):
            parse(text)

    def test_merge_keys_do_not_merge(self) -> None:
        config, warnings = parse("base: &b {port: 5400}\ndns:\n  <<: *b\n  ttl: 7\n")
        assert (config.dns.port, config.dns.ttl) == (5354, 7)
        assert any("dns.<<" in warning for warning in warnings)

    def test_anchors_work(self) -> None:
        config, _ = parse("dns: {port: &p 5400, ttl: *p}\n")
        assert (config.dns.port, config.dns.ttl) == (5400, 5400)

    @pytest.mark.parametrize("text", ["dns: {port: !!str 5400}", "dns: {port: !port 5400}", "dns: !x {port: 5400}"])
    def test_tags_change_nothing(self, text: str) -> None:
        assert parse(text)[0].dns.port == 5400

    def test_aliases_are_not_multiplied(self) -> None:
        levels = "\n".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 9)}]" for n in range(30))
        config, _ = parse(f"l0: &l0 [x]\n{levels}\ntun: {{mtu: 1400}}\n")
        assert config.tun.mtu == 1400

    def test_a_structure_that_contains_itself_is_refused(self) -> None:
        with pytest.raises(ConfigError):
            parse("peers: &p [*p]\n")

    def test_endless_nesting_is_refused(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse("a: " + "[" * 5000 + "]" * 5000)
        assert caught.value.problem == "syntax"


def test_descriptions_hide_secrets_and_stay_on_one_line() -> None:
    root = compose("nsec1qqqqqqqqqqqqqqqqqqqq", "t.yaml")
    assert root is not None
    assert describe(root) == "a secret key"
    assert clip("a\nb" + "x" * 100) == "a?b" + "x" * 57 + "..."


def test_a_cursor_says_where_it_stands() -> None:
    root = compose("\n  yes", "t.yaml")
    assert root is not None
    with pytest.raises(ConfigError, match=r"^tun.enabled: `yes` does not fit here; write true .* at line 2 column 3$"):
        yaml12.to_bool(Cursor(root, "tun.enabled"))


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused(text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        check_line(str(error))


def check_line(text: str) -> None:
    assert "\n" not in text


SCALARS = st.one_of(
    st.sampled_from(["", "~", "null", "true", "yes", "0", "-1", "1.5", ".nan", '""', "'x'", "[]", "{}", "65536"]),
    st.text("abz019.:-_", max_size=8).map(lambda text: f'"{text}"'),
)
WORDS = (
    "node tun dns transports peers gateway udp tcp main enabled mtu port limits max_peers addresses npub discovery "
    "nostr bind_addr ttl << 5 rate_limit"
)
NAMES = st.sampled_from([*WORDS.split(), '"a\\nb"'])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(st.tuples(NAMES, inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
        ),
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
    ),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_any_structure_loads_or_is_refused(text: str) -> None:
    try:
        config, warnings = parse(text)
    except ConfigError as error:
        check_line(str(error))
        return
    check_line(repr(config) + "".join(warnings))
