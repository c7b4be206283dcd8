// The events that were selected one by one, to be exported: a set of their IDs,
// so that it stays whatever part of the table is in memory. It belongs to a
// question, and is in the address with it: selected=17,20-35.

import { byId, toast } from "./dom.js";
import { address, current, sameQuestion } from "./state.js";

/** As many as an export takes by ID; export.go has the same number. */
export const most = 1000;

/** The longest address, in characters, that proxies and chats let through: a line of 8 KB of nginx and Apache, less method and protocol. */
const longest = 8000;

/** Lists of IDs and of ranges of them. Numbers of 15 digits are exact, and more than a store ever has. */
const listed = /^[1-9]\d{0,14}(-[1-9]\d{0,14})?(,[1-9]\d{0,14}(-[1-9]\d{0,14})?)*$/;

const bar = byId("selection");
const count = byId("selection-count");

/** @type {Set<string>} */
const selected = new Set();
/** What was selected or taken back last: a range begins there, and becomes the same. @type {{id: string, on: boolean} | null} */
let last = null;
/** Whether the address had something that is no selection. */
let unread = false;
/** Whether it is too long for a link, and kept here alone. */
let scattered = false;
/** The question that it belongs to. @type {URLSearchParams | null} */
let question = null;
/** Draws the rows. */
let changed = () => {};
/** Changes the address. @type {import("./view.js").App["note"]} */
let note = () => {};

/** @param {() => void} draw called after each change @param {import("./view.js").App["note"]} to the address */
export function listen(draw, to) {
  changed = draw;
  note = to;
  byId("selection-clear").addEventListener("click", clear);
}

/**
 * Takes the selection of another question from the address. While the question is
 * the same, what is selected is the truth and the address follows: back to before
 * an event was opened takes back no selection.
 * @param {URLSearchParams} p
 */
export function update(p) {
  const same = question !== null && sameQuestion(p, question);
  question = p;
  if (same) {
    write();
    return;
  }
  const said = current().get("selected");
  const list = said ? read(said) : [];
  unread = list === null;
  selected.clear();
  for (const id of list ?? []) selected.add(id);
  last = null;
  show();
}

/**
 * Reads a selection that anybody may have written. Null if it is none.
 * @param {string} said
 * @returns {string[] | null}
 */
function read(said) {
  if (said.length > longest || !listed.test(said)) return null;
  /** @type {string[]} */
  const out = [];
  for (const part of said.split(",")) {
    const [from, to = from] = part.split("-").map(Number);
    if (to < from || out.length + to - from >= most) return null;
    for (let id = from; id <= to; id++) out.push(String(id));
  }
  return out;
}

/** The selection as read takes it: the IDs in order, runs of them as ranges. */
function toText() {
  /** @type {[number, number][]} */
  const runs = [];
  for (const id of [...selected].map(Number).sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && id === run[1] + 1) run[1] = id;
    else runs.push([id, id]);
  }
  return runs.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",");
}

/** Puts the selection into the address, if that stays a link. */
function write() {
  const p = current();
  // Another question is being asked, and has its own selection.
  if (!question || !sameQuestion(p, question)) return;
  const had = p.get("selected");
  const now = toText();
  p.set("selected", now);
  scattered = now !== "" && address(location.pathname, p).length > longest;
  const want = now && !scattered ? now : null;
  if (want !== had) note((a) => (want === null ? a.delete("selected") : a.set("selected", want)));
}

/** @param {string} id */
export function has(id) {
  return selected.has(id);
}

/** @returns {string[]} */
export function ids() {
  return [...selected];
}

/** Where a range begins: where something was selected last. */
export function anchor() {
  return last?.id ?? "";
}

/** @param {string} id */
export function toggle(id) {
  set([id], !selected.has(id), id);
}

/** Makes a range as its anchor is. @param {string[]} range @param {string} to its other end */
export function extend(range, to) {
  set(range, last?.on ?? true, to);
}

/** @param {string[]} which @param {boolean} on @param {string} at */
function set(which, on, at) {
  unread = false;
  const more = on ? which.filter((id) => !selected.has(id)).length : 0;
  if (selected.size + more > most) {
    tooMany();
  } else {
    for (const id of which) {
      if (on) selected.add(id);
      else selected.delete(id);
    }
    last = { id: at, on };
  }
  show();
}

export function tooMany() {
  toast(`At most ${most.toLocaleString("en")} events can be selected. Export a filter and a range instead.`);
}

/** @returns {boolean} whether there was something to clear */
export function clear() {
  const had = selected.size > 0 || unread;
  // The bar goes away, and the focus would with it.
  if (bar.contains(document.activeElement)) byId("results").focus({ preventScroll: true });
  selected.clear();
  last = null;
  unread = false;
  show();
  return had;
}

function show() {
  bar.classList.toggle("none", !selected.size && !unread);
  byId("selection-export").hidden = !selected.size;
  byId("selection-clear").hidden = !selected.size && !unread;
  write();
  // It is told when it changes, so the element is always there.
  const words = selected.size ? `${selected.size.toLocaleString("en")} selected${scattered ? ", too scattered for a link" : ""}` : "";
  count.textContent = unread ? "Nothing is selected: what this address says of it cannot be read" : words;
  changed();
}
