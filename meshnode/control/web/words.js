"use strict";
// What the other scripts share: elements by name, quantities in words, questions to the node.

const at = (id) => document.getElementById(id);

async function ask(command, query = "") {
  const answer = await (await fetch(`api/${command}${query}`)).json();
  if (answer.status !== "ok") throw new Error(answer.message);
  return answer.data;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit++; }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function rate(value) { return `${size(value)}/s`; }
function plain(value) { return String(Math.round(value)); }
function percent(value) { return `${(value * 100).toFixed(1)} %`; }

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function milliseconds(value) { return `${value.toFixed(1)} ms`; }
