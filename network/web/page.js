"use strict";
// Fetches the panel every two seconds and swaps it in where it differs; what a person opened stays open.
const panel = document.getElementById("panel");
const live = document.getElementById("live");
let shown = "";

function localTimes() {
  for (const time of panel.querySelectorAll("time[data-unix]")) {
    time.textContent = new Date(Number(time.dataset.unix) * 1000).toLocaleString();
  }
}

function show(text) {
  if (text === shown) return;
  const open = [...panel.querySelectorAll("details[open]")].map((details) => details.id);
  panel.innerHTML = text;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  localTimes();
  shown = text;
}

async function refresh() {
  try {
    const answer = await fetch("/aggregator/panel", { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.statusText);
    if (!String(document.getSelection())) show(await answer.text());
    live.textContent = "live";
    live.className = "";
  } catch {
    live.textContent = "not reachable";
    live.className = "lost";
  }
  setTimeout(refresh, 2000);
}

localTimes();
setTimeout(refresh, 2000);
