// Requests as they come, and how long ago the last one was.

import { byId, fragment } from "./dom.js";

const shown = 20; // of one actor's new requests
const activeMs = 5 * 60 * 1000; // the same as activeFor in page_actor.go

/** @type {string[]} */
let waiting = [];
let frame = 0;
let count = 0;
let user = "";

/** Forgets what came before the question was asked. */
export function startOver() {
  waiting = [];
  count = 0;
  byId("actor-live-list").replaceChildren();
  say();
}

function say() {
  byId("actor-live-count").textContent = count === 0 ? "nothing new so far" : count === 1 ? "1 new request" : `${count.toLocaleString("en")} new requests`;
  byId("actor-again").hidden = count === 0;
}

/** Takes a request that the server drew. @param {string} html @param {string} of whose page it is, "" for the list */
export function follow(html, of) {
  user = of;
  waiting.push(html);
  // Once a frame, however many come.
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const batch = waiting;
    waiting = [];
    if (user) intoPage(batch);
    else intoList(batch);
  });
}

/** @param {string[]} batch */
function intoPage(batch) {
  count += batch.length;
  const list = byId("actor-live-list");
  for (const html of batch.slice(-shown)) list.prepend(fragment(html));
  while (list.childElementCount > shown) list.lastElementChild?.remove();
  say();
  const still = document.getElementById("actor-still");
  const first = list.firstElementChild;
  const time = first?.querySelector("time");
  const link = first?.querySelector("a");
  if (!still || !first || !time || !link) return;
  const age = document.createElement("b");
  age.dataset.age = time.dateTime;
  const says = document.createElement("b");
  says.dataset.says = "";
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.setAttribute("aria-hidden", "true");
  still.replaceChildren(dot, says, " Last request ", age, ", ", time.cloneNode(true), ": ", link.cloneNode(true));
  tick();
}

/** Counts the requests in the rows that are there; who is new comes with the next question. @param {string[]} batch */
function intoList(batch) {
  /** @type {Map<string, HTMLElement>} */
  const rows = new Map();
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#actors-list tr.actor"))) {
    rows.set(`${row.dataset.kind === "impersonated"} ${row.dataset.user}`, row);
  }
  for (const html of batch) {
    const li = /** @type {HTMLElement | null} */ (fragment(html).querySelector("li"));
    if (!li) continue;
    const time = li.querySelector("time");
    for (const row of [rows.get(`false ${li.dataset.user}`), li.dataset.as ? rows.get(`true ${li.dataset.as}`) : undefined]) {
      if (!row) continue;
      add(row, "count");
      if ("failed" in li.dataset) add(row, "failed")?.classList.add("bad");
      if ("write" in li.dataset) add(row, "writes");
      if (time) row.querySelector(".when")?.replaceChildren(time.cloneNode(true));
      row.classList.add("active");
    }
  }
}

/** @param {HTMLElement} row @param {string} what */
function add(row, what) {
  const cell = row.querySelector(`[data-n="${what}"]`);
  if (cell) cell.textContent = (Number(cell.textContent?.replaceAll(",", "")) + 1).toLocaleString("en");
  return cell;
}

/** Says anew how long ago the last request was. */
export function tick() {
  const age = /** @type {HTMLElement | null} */ (document.querySelector("#actor-still [data-age]"));
  const still = document.getElementById("actor-still");
  if (!age || !still) return;
  const ms = Date.now() - Date.parse(age.dataset.age ?? "");
  age.textContent = ageText(ms / 1000);
  const on = ms < activeMs;
  still.classList.toggle("warn", on);
  still.classList.toggle("quiet", !on);
  const says = still.querySelector("[data-says]");
  if (says) says.textContent = on ? "Still going on." : "Quiet.";
}

/** How long ago, in one unit; the same as in page_actors.go. @param {number} s */
function ageText(s) {
  if (s < 10) return "just now";
  for (const [most, unit, name] of /** @type {[number, number, string][]} */ ([[120, 1, "second"], [7200, 60, "minute"], [172800, 3600, "hour"], [Infinity, 86400, "day"]])) {
    if (s >= most) continue;
    const n = Math.floor(s / unit);
    return `${n.toLocaleString("en")} ${name}${n === 1 ? "" : "s"} ago`;
  }
  return "";
}
