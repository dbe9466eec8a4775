"""Metrics of links and sessions: reports, round-trip time, loss, path MTU (spec 03 section 11)."""

from meshnode.mesh.mmp.measurement import Measurement
from meshnode.mesh.mmp.path_mtu import PathMtuState
from meshnode.mesh.mmp.quality import CostRange, Health

__all__ = ["CostRange", "Health", "Measurement", "PathMtuState"]
