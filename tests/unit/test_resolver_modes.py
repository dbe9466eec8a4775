"""The words the configuration knows are those the resolver set-up knows."""

from __future__ import annotations

from typing import get_args

from meshnode.config.schema import ResolverMode
from meshnode.ipv6.resolver import MODES


def test_the_schema_offers_every_resolver_mode() -> None:
    assert set(get_args(ResolverMode)) == set(MODES)
