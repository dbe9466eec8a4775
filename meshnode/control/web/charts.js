"use strict";
// The last hour: of the node, and of every peer that is there.

const CHARTS = [["bytes_in", rate], ["bytes_out", rate], ["peer_count", plain], ["loss_rate", percent]];
const PEER_CHARTS = [["throughput", ["bytes_in", "bytes_out"], rate], ["round trip", ["srtt_ms"], milliseconds],
  ["loss", ["loss_rate"], percent]];
const MOST_PEERS = 24;
const MINUTES = "window=1h&granularity=1m";
const SECONDS = "window=10m&granularity=1s";

// Minutes say more than seconds once there are some.
function better(minutes, seconds) {
  const values = minutes && minutes.filter((value) => value !== null).length > 2 ? minutes : seconds || [];
  const first = values.findIndex((value) => value !== null);
  return first < 0 ? [] : values.slice(first);
}

function chart(name, shown, lines) {
  const made = element("div", "", "chart");
  const title = element("p", "");
  title.append(element("span", name), element("span", shown));
  const svg = shape("svg", {});
  drawSeries(svg, lines);
  made.append(title, svg);
  return made;
}

async function showNodeCharts() {
  const [hour, recent] = await Promise.all([MINUTES, SECONDS].map((query) => ask("show_stats_all_history", `?${query}`)));
  const charts = CHARTS.map(([metric, format]) => {
    const [minutes, seconds] = [hour, recent].map((data) => data.series.find((one) => one.metric === metric).values);
    const latest = seconds.at(-1);
    return chart(metric.replace("_", " "), latest === null ? "-" : format(latest), [better(minutes, seconds)]);
  });
  at("graphs").replaceChildren(...charts);
}

async function peerHistory(metric) {
  const answers = await Promise.all(
    [MINUTES, SECONDS].map((query) => ask("show_stats_history_all_peers", `?metric=${metric}&${query}`)));
  return answers.map((answer) => new Map(answer.peers.filter((peer) => peer.is_active).map((peer) => [peer.node_addr, peer])));
}

async function showPeerCharts() {
  const metrics = [...new Set(PEER_CHARTS.flatMap(([, names]) => names))];
  const histories = new Map(await Promise.all(metrics.map(async (metric) => [metric, await peerHistory(metric)])));
  const present = [...histories.get("srtt_ms")[1].values()].slice(0, MOST_PEERS);
  const rows = present.map((peer) => {
    const row = element("div", "", "peer");
    row.append(element("h3", peer.display_name));
    for (const [name, parts, format] of PEER_CHARTS) {
      const lines = parts.map((part) => histories.get(part).map((peers) => (peers.get(peer.node_addr) || {}).values));
      const latest = lines.map(([, seconds]) => (seconds ? seconds.findLast((value) => value !== null) : undefined));
      const shown = latest.map((value) => (value === undefined ? "-" : format(value))).join(", ");
      row.append(chart(parts.length > 1 ? `${name} in, out` : name, shown, lines.map(([minutes, seconds]) => better(minutes, seconds))));
    }
    return row;
  });
  at("peer-graphs").replaceChildren(...rows);
}
