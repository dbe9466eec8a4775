"""Probes: is a node found, by which way, does a session come up, how long is the round trip (spec 06 section 7)."""

from .jobs import Probes

__all__ = ["Probes"]
