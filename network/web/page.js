"use strict";
// Fetches the panel every two seconds and swaps it in where it differs. What a person opened stays open, what was scrolled
// stays where it is, and the keyboard's place is kept. The server has escaped every value in it.
const panel = document.getElementById("panel");
const live = document.getElementById("live");
let shown = "";

function localTimes() {
  for (const time of panel.querySelectorAll("time[data-unix]")) {
    const local = new Date(Number(time.dataset.unix) * 1000).toLocaleString();
    if (time.hasAttribute("title")) time.title = local;
    else time.textContent = local;
  }
}

function show(text) {
  if (text === shown) return;
  const open = [...panel.querySelectorAll("details[open]")].map((details) => details.id);
  const scrolled = [...panel.querySelectorAll(".scroll[id]")].map((box) => [box.id, box.scrollLeft]);
  const places = [...panel.querySelectorAll("a, summary, [tabindex]")];
  const place = places.indexOf(document.activeElement);
  const named = place >= 0 ? places[place].id : "";
  panel.innerHTML = text;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left] of scrolled) {
    const box = document.getElementById(id);
    if (box) box.scrollLeft = left;
  }
  if (place >= 0) {
    const now = document.getElementById(named) ?? panel.querySelectorAll("a, summary, [tabindex]")[place];
    now?.focus({ preventScroll: true });
  }
  localTimes();
  shown = text;
}

function say(word, lost) {
  if (live.textContent !== word) live.textContent = word;
  live.className = lost ? "lost" : "";
}

async function refresh() {
  try {
    const answer = await fetch(panel.dataset.source, { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.statusText);
    if (!String(document.getSelection())) show(await answer.text());
    say("live", false);
  } catch {
    say("not reachable", true);
  }
  setTimeout(refresh, 2000);
}

localTimes();
setTimeout(refresh, 2000);
