"use strict";
// Pictures as SVG: the tree of the mesh, and series over time.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 54;

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Every node that is known, with its parent, from coordinates that go from a node up to its root.
function knownNodes(tree, cache) {
  const names = new Map([[tree.parent, tree.parent_display_name]]);
  const paths = [tree.my_coords];
  for (const row of [...tree.peers, ...cache.entries]) {
    names.set(row.node_addr, row.display_name);
    if (row.coords) paths.push(row.coords);
  }
  names.set(tree.my_node_addr, "this node");
  const nodes = new Map();
  for (const path of paths) {
    path.forEach((address, index) => {
      if (!nodes.has(address)) {
        const parent = index + 1 < path.length ? path[index + 1] : null;
        nodes.set(address, { address, parent, name: names.get(address) || address.slice(0, 8) + "...", children: [] });
      }
    });
  }
  for (const node of nodes.values()) if (node.parent !== null) nodes.get(node.parent).children.push(node);
  return nodes;
}

// Leaves get columns of equal width, everybody else stands above the middle of its children.
function place(nodes) {
  let column = 0, deepest = 0;
  const visit = (node, depth) => {
    node.row = depth;
    deepest = Math.max(deepest, depth);
    node.children.sort((a, b) => (a.name < b.name ? -1 : 1));
    node.children.forEach((child) => visit(child, depth + 1));
    const ends = [node.children[0], node.children[node.children.length - 1]];
    node.column = node.children.length ? (ends[0].column + ends[1].column) / 2 : column++;
  };
  for (const node of nodes.values()) if (node.parent === null) visit(node, 0);
  return { columns: Math.max(1, column), rows: deepest + 1 };
}

function drawTree(svg, tree, cache, quality) {
  const nodes = knownNodes(tree, cache);
  const size = place(nodes);
  const width = Math.max(svg.clientWidth || 600, size.columns * 90);
  const x = (node) => ((node.column + 0.5) * width) / size.columns;
  const y = (node) => 20 + node.row * ROW;
  svg.setAttribute("viewBox", `0 0 ${width} ${size.rows * ROW + 6}`);
  const parts = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.parent);
    if (parent) parts.push(shape("line", { class: "branch", x1: x(node), y1: y(node), x2: x(parent), y2: y(parent) }));
  }
  const own = nodes.get(tree.my_node_addr);
  for (const [address, grade] of quality) {
    const peer = nodes.get(address);
    if (peer) parts.push(shape("path", { class: `link ${grade}`, d: curve(x(own), y(own), x(peer), y(peer)) }));
  }
  for (const node of nodes.values()) {
    const kind = node === own ? "own" : node.parent === null ? "root" : "";
    parts.push(shape("circle", { class: kind, cx: x(node), cy: y(node), r: 6 }));
    parts.push(shape("text", { x: x(node), y: y(node) + 19, "text-anchor": "middle" }, node.name));
  }
  svg.replaceChildren(...parts);
}

// Between neighbours in the tree a straight line, between others a bow around those in between.
function curve(x1, y1, x2, y2) {
  const bow = Math.abs(y1 - y2) <= ROW && y1 !== y2 ? 0 : 26;
  return `M${x1} ${y1} Q${(x1 + x2) / 2 + bow} ${(y1 + y2) / 2 - bow} ${x2} ${y2}`;
}

// One or more series of values over the same time, on a common scale that begins at nothing.
function drawSeries(svg, series) {
  const top = Math.max(...series.flat().filter((value) => value !== null), 0) || 1;
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("height", "40");
  svg.replaceChildren(...series.map((values) => shape("g", {})));
  series.forEach((values, index) => {
    const lines = stretches(values, top).map((points) => shape("polyline", { points: points.join(" ") }));
    svg.children[index].replaceChildren(...lines);
  });
}

// The points of a series, cut where values are missing.
function stretches(values, top) {
  const found = [[]];
  values.forEach((value, index) => {
    if (value === null) found.push([]);
    else found.at(-1).push(`${(index * 100) / Math.max(1, values.length - 1)},${38 - (value / top) * 36}`);
  });
  return found.filter((points) => points.length);
}
