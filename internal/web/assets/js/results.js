// The table: loading it, more of it, choosing rows, adding a value to the filter.

import { byId, element, load } from "./dom.js";
import { failure } from "./states.js";

const region = byId("results");
const most = 500; // rows of the table while it is live; older ones are a search away

/** @type {AbortController | null} */
let asking = null;

/** The ID of the newest event when what is shown was asked. */
export function last() {
  return region.querySelector(".results-data")?.getAttribute("data-last") ?? "";
}

/**
 * Asks and shows the answer. A newer call ends an older one, and its query.
 * @param {URLSearchParams} p
 */
export async function show(p) {
  asking?.abort();
  const ask = new AbortController();
  asking = ask;
  region.setAttribute("aria-busy", "true");
  try {
    const html = await load("/page/results?" + p, ask.signal);
    region.replaceChildren(html);
    mark(p.get("event"));
  } catch (err) {
    if (ask.signal.aborted) return;
    region.replaceChildren(failure(err, () => show(p)));
  }
  region.removeAttribute("aria-busy");
}

/**
 * Puts a new event on top. False if there is no table to put it in.
 * @param {HTMLTableRowElement} tr
 */
export function add(tr) {
  const body = document.getElementById("rows");
  if (!body) return false;
  if (row(tr.dataset.id ?? "")) return true;
  tr.classList.add("new");
  body.prepend(tr);
  const all = rows();
  if (all.length > most) {
    region.querySelector(".more")?.remove(); // its place is no longer the next one
    all[all.length - 1].remove();
  }
  return true;
}

/** Shows which event is open. @param {string | null} id */
export function mark(id) {
  for (const tr of region.querySelectorAll("tr.open")) tr.classList.remove("open");
  if (id) row(id)?.classList.add("open");
}

/** @param {string} id */
function row(id) {
  return region.querySelector(`tr[data-id="${CSS.escape(id)}"]`);
}

/** @returns {HTMLElement[]} */
function rows() {
  return [...region.querySelectorAll("tr.event")].map((r) => /** @type {HTMLElement} */ (r));
}

/** The row with the cursor. @returns {HTMLElement | null} */
export function chosen() {
  return region.querySelector("tr.chosen") ?? region.querySelector("tr.open");
}

/** Moves the cursor by n rows. @param {number} n */
export function move(n) {
  const all = rows();
  const now = chosen();
  const at = now ? all.indexOf(now) + n : n > 0 ? 0 : -1;
  const next = all[at];
  if (!next) {
    if (n > 0 && at >= all.length) region.querySelector(".more a")?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    return;
  }
  choose(next);
  next.scrollIntoView({ block: "nearest" });
}

/** @param {HTMLElement} tr */
function choose(tr) {
  for (const old of region.querySelectorAll("tr.chosen")) old.classList.remove("chosen");
  tr.classList.add("chosen");
}

/** @param {Element} a the link to the next page */
async function more(a) {
  const place = a.closest(".more");
  if (!place || place.hasAttribute("aria-busy")) return;
  place.setAttribute("aria-busy", "true");
  const p = new URLSearchParams(location.search);
  p.set("cursor", a.getAttribute("data-cursor") ?? "");
  try {
    const html = await load("/page/results?" + p, asking?.signal);
    const older = html.querySelectorAll("tr.event");
    if (!older.length) throw new Error("the server could not go on");
    byId("rows").append(...older);
    place.replaceWith(html.querySelector(".more") ?? "");
    mark(p.get("event"));
  } catch (err) {
    place.removeAttribute("aria-busy");
    a.textContent = "Load more (" + /** @type {Error} */ (err).message + ")";
  }
}

// The two small buttons that add a cell's value to the filter, or its opposite.
// There is one pair, which goes where the pointer is.
const pair = element("span", "pair", "");
const plus = element("button", "", "+");
const minus = element("button", "", "−");
plus.title = "Only these";
minus.title = "Not these";
for (const b of [plus, minus]) {
  b.setAttribute("type", "button");
  b.tabIndex = -1;
}
pair.append(plus, minus);

/**
 * @param {{open: (id: string) => void, addCondition: (column: string, value: string, not: boolean) => void}} on
 */
export function listen(on) {
  region.addEventListener("pointerover", (e) => {
    if (e.pointerType === "touch" || !(e.target instanceof Element) || pair.contains(e.target)) return;
    const cell = e.target.closest("tr.event [data-c]");
    if (!cell || cell.getAttribute("data-c") === "time" || !cell.getAttribute("data-v")) return pair.remove();
    if (pair.parentElement !== cell) cell.append(pair);
  });
  region.addEventListener("pointerleave", () => pair.remove());
  region.addEventListener("click", (e) => {
    if (!(e.target instanceof Element) || e.metaKey || e.ctrlKey) return;
    const button = e.target.closest(".pair button");
    const cell = e.target.closest("[data-c]");
    if (button && cell) {
      pair.remove();
      on.addCondition(cell.getAttribute("data-c") ?? "", cell.getAttribute("data-v") ?? "", button === minus);
      return;
    }
    const next = e.target.closest("a[data-cursor]");
    if (next) {
      e.preventDefault();
      more(next);
      return;
    }
    const tr = e.target.closest("tr.event");
    if (!(tr instanceof HTMLElement) || getSelection()?.toString()) return;
    e.preventDefault();
    choose(tr);
    on.open(tr.dataset.id ?? "");
  });
}
