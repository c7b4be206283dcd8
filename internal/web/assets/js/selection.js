// The events that were selected one by one, to be exported: a set of their IDs,
// so that it stays whatever part of the table is in memory.

import { byId, toast } from "./dom.js";

/** As many as an export takes by ID; export.go has the same number. */
export const most = 1000;

const bar = byId("selection");
const count = byId("selection-count");

/** @type {Set<string>} */
const selected = new Set();
/** What was selected or taken back last: a range begins there, and becomes the same. @type {{id: string, on: boolean} | null} */
let last = null;
/** Draws the rows. */
let changed = () => {};

/** @param {() => void} draw called after each change */
export function listen(draw) {
  changed = draw;
  byId("selection-clear").addEventListener("click", clear);
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
  const had = selected.size > 0;
  // The bar goes away, and the focus would with it.
  if (bar.contains(document.activeElement)) byId("results").focus({ preventScroll: true });
  selected.clear();
  last = null;
  show();
  return had;
}

function show() {
  bar.classList.toggle("none", selected.size === 0);
  byId("selection-export").hidden = byId("selection-clear").hidden = selected.size === 0;
  // It is told when it changes, so the element is always there.
  count.textContent = selected.size ? `${selected.size.toLocaleString("en")} selected` : "";
  changed();
}
