"""What can be wrong with a use of the session layer."""

from __future__ import annotations


class SessionError(ValueError):
    """A message cannot be sealed: too long, or the keys are used up."""


class SessionNotReady(SessionError):
    """There is no established session with that remote; queue the payload instead."""
