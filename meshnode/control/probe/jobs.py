"""The probes of a node: started, polled and cancelled over the control socket (spec 06 section 7.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshnode.identity import IdentityError, PeerIdentity
from meshnode.node.core import Node

from ..commands import CommandError, text_params
from ..encoding import Answer
from .job import Job
from .report import report

MOST_UNFINISHED = 4
KEEP_SECS = 30.0
STEP_SECS = 0.1


class Probes:
    """All probes of one node. While one runs, each is driven every `STEP_SECS`."""

    def __init__(self, node: Node, call_later: Callable[..., Any]) -> None:
        self._node = node
        self._call_later = call_later
        self._jobs: dict[int, Job] = {}
        self._last_number = 0
        self._is_driven = False

    def start(self, params: Any) -> Answer:
        (npub,) = text_params("probe_start", params, ("npub",))
        try:
            identity = PeerIdentity.from_npub(npub)
        except IdentityError as error:
            raise CommandError(f"invalid peer npub: {error}") from None
        if identity == self._node.identity.peer:
            raise CommandError("cannot probe this node")
        now = self._now()
        self._forget_old(now)
        if sum(not job.is_done for job in self._jobs.values()) >= MOST_UNFINISHED:
            raise CommandError("too many probes in flight")
        self._last_number += 1
        job = self._jobs[self._last_number] = Job(self._node, self._last_number, identity, now)
        job.step(now)
        self._drive()
        return {
            "probe_id": job.number,
            "npub": npub,
            "node_addr": job.target.hex(),
            "display_name": self._node.names.display(job.target),
            "budget_ms": int(job.budget * 1000),
        }

    def poll(self, params: Any) -> Answer:
        """How far a probe is; one that is done is forgotten with the answer."""
        job = self._job(params)
        if job.is_done:
            del self._jobs[job.number]
        return {"state": "done" if job.is_done else "running", "report": report(job, self._now(), STEP_SECS)}

    def cancel(self, params: Any) -> Answer:
        job = self._job(params)
        job.cancel(self._now())
        return {"probe_id": job.number, "cancelled": True}

    def _job(self, params: Any) -> Job:
        number = params.get("probe_id") if isinstance(params, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise CommandError("missing 'probe_id' parameter")
        self._forget_old(self._now())
        job = self._jobs.get(number)
        if job is None:
            raise CommandError(f"unknown probe id: {number}")
        return job

    def _drive(self) -> None:
        if not self._is_driven and any(not job.is_done for job in self._jobs.values()):
            self._is_driven = True
            self._call_later(STEP_SECS, self._step)

    def _step(self) -> None:
        self._is_driven = False
        now = self._now()
        for job in list(self._jobs.values()):
            job.step(now)
        self._forget_old(now)
        self._drive()

    def _forget_old(self, now: float) -> None:
        for number, job in list(self._jobs.items()):
            if job.is_done and job.ended_at is not None and now - job.ended_at > KEEP_SECS:
                del self._jobs[number]

    def _now(self) -> float:
        return self._node.world.clock.seconds()
