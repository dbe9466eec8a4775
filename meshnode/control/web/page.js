"use strict";
// Asks the node every moment and shows what it says. Text only ever goes in as text.

const REFRESH = 2000;
const HISTORY_EVERY = 5;
let token = "";
let rounds = 0;

async function tell(command, params) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
  const answer = await (await fetch(`api/${command}`, { method: "POST", headers, body: JSON.stringify(params) })).json();
  at("result").textContent = answer.status === "ok" ? `${command}: done` : answer.message;
  await refresh();
}

function grade(peer) {
  const quality = peer.mmp || {};
  if (peer.connectivity !== "connected") return "poor";
  if (quality.lqi === undefined) return "unknown";
  const loss = quality.smoothed_loss || 0;
  return loss > 0.1 || quality.lqi > 4 ? "poor" : loss > 0.02 || quality.lqi > 2 ? "fair" : "good";
}

function showStatus(status) {
  at("name").textContent = `${status.npub.slice(0, 12)}...${status.npub.slice(-4)}`;
  at("state").textContent = `${status.state}, up ${span(status.uptime_secs)}, ${status.peer_count} peers`;
  const mesh = status.estimated_mesh_size === null ? "of unknown size" : `about ${status.estimated_mesh_size} nodes`;
  const carriers = Object.entries(status.transport_peer_counts).map(([kind, count]) => `${kind} (${count})`).join(", ");
  const facts = [
    ["npub", status.npub], ["address", status.ipv6_addr], ["version", status.version],
    ["interface", `${status.tun_name} ${status.tun_state}, MTU ${status.effective_ipv6_mtu}`],
    ["sessions", status.session_count], ["mesh", mesh], ["transports", carriers],
    ["root", status.is_root ? "this node" : status.root],
    ["passed on", `${size(status.forwarding.forwarded_bytes)} in ${status.forwarding.forwarded_packets} packets`],
  ];
  at("facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function peerRow(peer) {
  const row = document.createElement("tr");
  const quality = peer.mmp || {};
  const place = peer.is_parent ? "parent" : peer.is_child ? "child" : "";
  const cells = [
    peer.display_name, peer.connectivity === "connected" ? place : "silent",
    quality.srtt_ms === undefined ? "-" : `${quality.srtt_ms.toFixed(1)} ms`,
    quality.loss_rate === undefined ? "-" : percent(quality.loss_rate),
    size(peer.stats.bytes_sent), size(peer.stats.bytes_recv), `${peer.transport_type || ""} ${peer.transport_addr || ""}`,
  ];
  row.append(...cells.map((cell) => element("td", cell)));
  row.firstChild.classList.add(grade(peer));
  row.append(action("Disconnect", () => tell("disconnect", { npub: peer.npub })));
  return row;
}

function absentRow(peer) {
  const row = document.createElement("tr");
  row.className = "absent";
  const places = peer.addresses.map((one) => `${one.transport} ${one.address}`).join(", ");
  const tries = `${peer.vain_attempts} tries`;
  row.append(...[peer.display_name, "absent", "-", "-", tries, "", places].map((cell) => element("td", cell)));
  const first = peer.addresses[0];
  const dial = () => tell("connect", { npub: peer.npub, address: first.address, transport: first.transport });
  row.append(first ? action("Connect", dial) : element("td", ""));
  return row;
}

function action(text, run) {
  const cell = document.createElement("td");
  const button = element("button", text);
  button.hidden = token === "";
  button.addEventListener("click", run);
  cell.append(button);
  return cell;
}

function showPeers(peers, known) {
  const absent = known.filter((peer) => !peer.is_connected);
  at("rows").replaceChildren(...peers.map(peerRow), ...absent.map(absentRow));
}

function showEvents(events) {
  const rows = events.slice(-100).reverse().map((event) => {
    const row = element("li", "", event.level);
    row.append(element("time", new Date(event.time_ms).toLocaleTimeString()), element("b", event.event),
      element("span", event.text));
    return row;
  });
  at("log").replaceChildren(...rows);
}

async function refresh() {
  try {
    const names = ["show_status", "show_peers", "show_known_peers", "show_tree", "show_cache", "show_events"];
    const [status, peers, known, tree, cache, events] = await Promise.all(names.map((name) => ask(name)));
    document.querySelector("header").classList.remove("trouble");
    showStatus(status);
    showPeers(peers.peers, known.peers);
    drawTree(at("tree"), tree, cache, peers.peers.map((peer) => [peer.node_addr, grade(peer)]));
    showEvents(events.events);
    if (rounds++ % HISTORY_EVERY === 0) await Promise.all([showNodeCharts(), showPeerCharts()]);
    document.body.dataset.ready = "yes";
  } catch (error) {
    document.querySelector("header").classList.add("trouble");
    at("state").textContent = `the node does not answer: ${error.message}`;
  }
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("connect-form").hidden = token === "";
  refresh();
});

at("connect-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [npub, address, transport] = ["npub", "address", "transport"].map((id) => at(id).value.trim());
  tell("connect", { npub, address, transport });
});

fetch("api/page").then((answer) => answer.json()).then((about) => { at("token-form").hidden = !about.can_change; });
refresh();
setInterval(refresh, REFRESH);
