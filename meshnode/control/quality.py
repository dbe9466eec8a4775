"""What was measured about a link or a session, as it is shown (spec 06 sections 3.8 and 3.12)."""

from __future__ import annotations

from typing import Any

from meshnode.mesh.link import PeerLink
from meshnode.mesh.mmp import Measurement
from meshnode.mesh.session import Session

from .encoding import Answer
from .view import View, without_unknown


def show_mmp(view: View) -> Answer:
    return {
        "peers": (_peer_row(view, peer) for peer in list(view.node.links.peers.values())),
        "sessions": (
            _session_row(view, session) for session in list(view.node.sessions.sessions.values()) if session.established
        ),
    }


def link_quality(measurement: Measurement) -> dict[str, Any]:
    """The block in a row of `show_peers`."""
    return _quality(measurement, "lqi")


def session_quality(session: Session) -> dict[str, Any]:
    """The block in a row of `show_sessions`."""
    return {**_quality(session.measurement, "sqi"), "path_mtu": session.path_mtu.current}


def _quality(measurement: Measurement, index: str) -> dict[str, Any]:
    return {
        **_smoothed(measurement, index),
        "mode": measurement.settings.mode,
        "goodput_bps": measurement.goodput,
        "delivery_ratio_forward": measurement.delivery_forward,
        "delivery_ratio_reverse": measurement.delivery_reverse,
    }


def _smoothed(measurement: Measurement, index: str) -> dict[str, Any]:
    """What all blocks have; `index` is the key of the quality index."""
    return without_unknown(
        {
            "loss_rate": measurement.loss,
            "etx": measurement.etx,
            "srtt_ms": measurement.srtt_ms,
            "smoothed_loss": measurement.smoothed_loss,
            "smoothed_etx": measurement.smoothed_etx,
            index: measurement.smoothed_cost,
        }
    )


def _trends(measurement: Measurement, *names: str) -> dict[str, str]:
    trends = {f"{name}_trend": getattr(measurement.trends, name).trend for name in names}
    return without_unknown(trends)


def _peer_row(view: View, peer: PeerLink) -> dict[str, Any]:
    measurement = peer.measurement
    return {
        "peer": peer.node_addr.hex(),
        "display_name": view.name(peer.node_addr),
        "mode": measurement.settings.mode,
        "link_layer": {
            **_smoothed(measurement, "lqi"),
            **_trends(measurement, "rtt", "loss", "goodput", "jitter"),
            "goodput_bps": measurement.goodput,
            "spin_bit_role": "initiator" if measurement.initiator else "responder",
            "delivery_ratio_forward": measurement.delivery_forward,
            "delivery_ratio_reverse": measurement.delivery_reverse,
            "ecn_ce_count": measurement.ecn_ce_count,
        },
    }


def _session_row(view: View, session: Session) -> dict[str, Any]:
    measurement = session.measurement
    return {
        "remote": session.address.hex(),
        "display_name": view.name(session.address),
        "mode": measurement.settings.mode,
        "session_layer": {
            **_smoothed(measurement, "sqi"),
            **_trends(measurement, "rtt", "loss", "etx"),
            "path_mtu": session.path_mtu.current,
        },
    }
