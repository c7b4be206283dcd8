// The table of events. All of an answer can be scrolled through: pages are asked
// for as they come near, only the rows in sight are in the document, and pages
// far away are dropped and asked for again by their cursor.

import { byId, element, load, toast } from "./dom.js";
import * as selection from "./selection.js";
import { failure } from "./states.js";
import { localize } from "./time.js";

/**
 * A run of rows. The first block has what came live and the first page.
 * @typedef {{cursor: string, rows: HTMLTableRowElement[] | null, count: number, loading: boolean}} Block
 */

const region = byId("results");
const fresh = byId("fresh");
const over = 12; // rows above and below those in sight
const ahead = 60; // rows before the end at which the next page is asked for
const keep = 30; // pages in memory
const mostLive = 1000; // rows that may come live before the question is asked anew

/** @type {AbortController | null} */
let asking = null;
/** What is shown answers this; the address may be ahead of it. */
let question = new URLSearchParams();
/** @type {() => void} */
let again = () => {};
/** @type {Block[]} */
let blocks = [];
/** Cursor of the page behind the last block, "" if there is none. */
let next = "";
/** @type {HTMLElement | null} the rows' table section */
let body = null;
let rowHeight = 29;
let openID = "";
let chosenID = "";
/** What came live while the reader was further down. @type {HTMLTableRowElement[]} */
let held = [];
let live = 0;
let drawing = 0;

const above = spacer();
const below = spacer();

function spacer() {
  const tr = document.createElement("tr");
  tr.className = "spacer";
  tr.setAttribute("aria-hidden", "true");
  const td = document.createElement("td");
  tr.append(td);
  return tr;
}

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
  const mine = new AbortController();
  asking = mine;
  region.setAttribute("aria-busy", "true");
  try {
    const html = await load("/page/results?" + p, mine.signal);
    question = p;
    region.replaceChildren(html);
    // An answer is read from its beginning, wherever the reader was in the one before.
    if (region.getBoundingClientRect().top < 0) region.scrollIntoView();
    adopt();
  } catch (err) {
    if (mine.signal.aborted) return;
    blocks = [];
    body = null;
    region.replaceChildren(failure(err, () => show(p)));
  }
  region.removeAttribute("aria-busy");
}

/** Ends what is asked. */
export function stop() {
  asking?.abort();
}

/** Takes the table that the server rendered over. */
export function adopt() {
  asking ??= new AbortController();
  held = [];
  live = 0;
  next = "";
  blocks = [];
  body = document.getElementById("rows");
  showHeld();
  if (!body) return;
  const first = /** @type {HTMLTableRowElement[]} */ ([...body.querySelectorAll("tr.event")]);
  const more = region.querySelector(".more");
  next = more?.querySelector("a")?.getAttribute("data-cursor") ?? "";
  more?.remove();
  blocks = [{ cursor: "", rows: first, count: first.length, loading: false }];
  for (const tr of first) dress(tr);
  const columns = region.querySelectorAll("th:not(.select)").length;
  region.querySelector(".table")?.classList.toggle("wide", columns > 9);
  body.closest("table")?.setAttribute("aria-rowcount", String(next ? -1 : first.length + 1));
  draw();
}

function total() {
  return blocks.reduce((n, b) => n + b.count, 0);
}

/** Draws at the next frame. */
function later() {
  if (!drawing) drawing = requestAnimationFrame(draw);
}

/** Puts the rows in sight into the document. */
function draw() {
  cancelAnimationFrame(drawing);
  drawing = 0;
  if (!body) return;
  // The first row has no line above it.
  const one = body.querySelector("tr.event + tr.event") ?? body.querySelector("tr.event");
  if (one instanceof HTMLElement && one.offsetHeight) rowHeight = one.offsetHeight;
  const n = total();
  const top = body.getBoundingClientRect().top;
  const first = Math.max(0, Math.min(n, Math.floor(-top / rowHeight) - over));
  const end = Math.max(first, Math.min(n, Math.ceil((innerHeight - top) / rowHeight) + over));
  /** @type {HTMLElement[]} */
  const want = [];
  if (first > 0) want.push(above);
  above.style.height = `${first * rowHeight}px`;
  let at = 0; // of the block
  let missing = 0;
  let day = first > 0 ? null : ""; // of the row above; null where it is not known
  for (const b of blocks) {
    const from = Math.max(first, at);
    const to = Math.min(end, at + b.count);
    if (from < to) {
      if (b.rows) {
        for (let i = from; i < to; i++) {
          const tr = b.rows[i - at];
          tr.setAttribute("aria-rowindex", String(i + 2));
          // Where there is no room for the day in each row, it stands where it begins.
          const its = dayOf(tr);
          tr.classList.toggle("newday", day !== null && its !== day);
          day = its;
          want.push(tr);
        }
      } else {
        missing += to - from;
        day = null;
        fetchBlock(b);
      }
    }
    at += b.count;
  }
  // What is being asked for again leaves a gap, which is never in the middle of what is seen for long.
  below.style.height = `${(n - end + missing) * rowHeight}px`;
  if (end < n || missing) want.push(below);
  place(want);
  if (next && end > n - ahead) nextPage();
  if (held.length && top > -rowHeight) release();
}

/** The day that a row shows. @param {HTMLTableRowElement} tr */
function dayOf(tr) {
  return tr.querySelector(".day")?.textContent ?? "";
}

/** Changes as little as possible, so that focus and selection stay. @param {HTMLElement[]} want */
function place(want) {
  if (!body) return;
  const set = new Set(want);
  for (const child of [...body.children]) {
    if (set.has(/** @type {HTMLElement} */ (child))) continue;
    if (child.contains(document.activeElement)) region.focus({ preventScroll: true });
    child.remove();
  }
  let at = body.firstChild;
  for (const el of want) {
    if (el === at) {
      at = at.nextSibling;
      continue;
    }
    if (!el.isConnected) dress(el);
    body.insertBefore(el, at);
  }
}

/** A row as it is to look now: it may have been away for long. @param {HTMLElement} tr */
function dress(tr) {
  if (tr === above || tr === below) return;
  localize(tr);
  tr.classList.toggle("open", tr.dataset.id === openID);
  tr.classList.toggle("chosen", tr.dataset.id === chosenID);
  check(tr);
}

/** Shows whether a row's event is selected. @param {HTMLElement} tr */
function check(tr) {
  const on = selection.has(tr.dataset.id ?? "");
  tr.classList.toggle("selected", on);
  const box = tr.querySelector("td.select input");
  if (box instanceof HTMLInputElement) box.checked = on;
}

/** @param {string} cursor */
async function rowsOf(cursor) {
  const p = new URLSearchParams(question);
  p.set("cursor", cursor);
  const html = await load("/page/results?" + p, asking?.signal);
  if (!html.querySelector("#rows")) throw new Error(html.textContent?.trim() || "the server could not go on");
  return { rows: /** @type {HTMLTableRowElement[]} */ ([...html.querySelectorAll("tr.event")]), next: html.querySelector(".more a")?.getAttribute("data-cursor") ?? "" };
}

let going = false;

async function nextPage() {
  if (going || region.querySelector(".more")) return;
  going = true;
  const cursor = next;
  const mine = asking;
  const waiting = element("p", "more quiet", "Loading…");
  waiting.setAttribute("role", "status");
  region.append(waiting);
  try {
    const page = await rowsOf(cursor);
    if (mine !== asking || mine?.signal.aborted) return;
    blocks.push({ cursor, rows: page.rows, count: page.rows.length, loading: false });
    next = page.next;
    if (!next) body?.closest("table")?.setAttribute("aria-rowcount", String(total() + 1));
    // The rows first: without them the document would end above where the reader is, and jump.
    draw();
    waiting.remove();
    drop();
    later();
  } catch (err) {
    if (mine !== asking || mine?.signal.aborted) return;
    waiting.replaceChildren(failure(err, () => {
      waiting.remove();
      nextPage();
    }));
  } finally {
    going = false;
  }
}

/** Asks again for a page that was dropped. @param {Block} b */
async function fetchBlock(b) {
  if (b.loading) return;
  b.loading = true;
  const mine = asking;
  try {
    const page = await rowsOf(b.cursor);
    if (mine !== asking || mine?.signal.aborted) return;
    b.rows = page.rows;
    b.count = page.rows.length; // fewer, if some were older than what the store keeps
    drop();
    later();
  } catch {
    // It is asked for once more if it is still in sight then.
    if (mine === asking && !mine?.signal.aborted) setTimeout(later, 3000);
  } finally {
    b.loading = false;
  }
}

/** Drops the pages furthest from what is seen. */
function drop() {
  if (!body) return;
  const middle = (innerHeight / 2 - body.getBoundingClientRect().top) / rowHeight;
  let at = 0;
  const far = blocks.map((b) => {
    const distance = Math.abs(at + b.count / 2 - middle);
    at += b.count;
    return { b, distance };
  });
  const full = far.filter(({ b }) => b.rows && b.cursor).sort((a, b) => a.distance - b.distance);
  for (const { b } of full.slice(keep)) b.rows = null;
}

/**
 * Puts new events on top. False if there is no table to put them in, or if it
 * has become so long that it is to be asked for anew.
 * @param {HTMLTableRowElement[]} came the newest last
 */
export function add(came) {
  if (!body || !blocks.length) return false;
  const known = new Set([...held, ...(blocks[0].rows ?? [])].map((tr) => tr.dataset.id));
  const arrived = came.filter((tr) => !known.has(tr.dataset.id)).reverse();
  if (body.getBoundingClientRect().top < -rowHeight) {
    // The reader is further down: what is read stays where it is.
    held = [...arrived, ...held].slice(-mostLive);
    showHeld();
    return true;
  }
  live += arrived.length;
  if (live > mostLive) return false;
  for (const tr of arrived) tr.classList.add("new");
  blocks[0].rows?.unshift(...arrived);
  blocks[0].count += arrived.length;
  later();
  return true;
}

function showHeld() {
  fresh.hidden = held.length === 0;
  fresh.textContent = `↑ ${held.length.toLocaleString("en")}${held.length >= mostLive ? "+" : ""} new`;
}

/** Shows what came live while the reader was further down. */
function release() {
  if (held.length >= mostLive) {
    // There may be more than were held: shown below what comes next, they would leave a hole.
    held = [];
    showHeld();
    again();
    return;
  }
  live += held.length;
  blocks[0].rows?.unshift(...held);
  blocks[0].count += held.length;
  held = [];
  showHeld();
  later();
}

/** To the newest event. */
export function toTop() {
  if (held.length) release();
  scrollTo({ top: 0 });
  later();
}

/** Puts the focus on an event's row, or on the table if it is not in sight. @param {string} id */
export function focus(id) {
  const row = [...region.querySelectorAll("tr.event")].find((tr) => /** @type {HTMLElement} */ (tr).dataset.id === id);
  const to = row?.querySelector("a") ?? region;
  to.focus({ preventScroll: true });
}

/** Shows which event is open. @param {string | null} id */
export function mark(id) {
  openID = id ?? "";
  for (const tr of region.querySelectorAll("tr.event")) tr.classList.toggle("open", /** @type {HTMLElement} */ (tr).dataset.id === openID);
}

/** @returns {HTMLTableRowElement[]} the rows that are in memory */
function rows() {
  return blocks.flatMap((b) => b.rows ?? []);
}

/** The row with the cursor. @returns {HTMLElement | null} */
export function chosen() {
  const all = rows();
  return all.find((r) => r.dataset.id === chosenID) ?? all.find((r) => r.dataset.id === openID) ?? null;
}

/** Moves the cursor by n rows. @param {number} n @returns {HTMLElement | null} the row it came to */
export function move(n) {
  const all = rows();
  const now = chosen();
  const to = now ? all.indexOf(/** @type {HTMLTableRowElement} */ (now)) + n : n > 0 ? 0 : -1;
  const row = all[to];
  if (!row || !body) return null;
  choose(row);
  // The row may not be in the document yet.
  const index = blocks.reduce(
    (found, b) => {
      const i = b.rows?.indexOf(row) ?? -1;
      return found.done ? found : i >= 0 ? { at: found.at + i, done: true } : { at: found.at + b.count, done: false };
    },
    { at: 0, done: false },
  ).at;
  const head = body.closest("table")?.querySelector("thead")?.offsetHeight ?? 0;
  const y = body.getBoundingClientRect().top + index * rowHeight;
  if (y < head) scrollBy(0, y - head - 8);
  else if (y + rowHeight > innerHeight) scrollBy(0, y + rowHeight - innerHeight + 8);
  draw();
  return row;
}

/** @param {HTMLElement} tr */
function choose(tr) {
  chosenID = tr.dataset.id ?? "";
  for (const old of region.querySelectorAll("tr.chosen")) old.classList.remove("chosen");
  tr.classList.add("chosen");
}

/**
 * Selects an event or takes it back, or all from the one before to this one.
 * @param {HTMLElement | null} tr
 * @param {boolean} range
 */
export async function select(tr, range) {
  const id = tr?.dataset.id;
  if (!tr || !id) return;
  // Where nothing was selected before, the range begins at the cursor.
  const from = range ? selection.anchor() || chosenID || openID : "";
  choose(tr);
  if (!from || from === id) return selection.toggle(id);
  const between = span(from, id);
  if (!between) {
    check(tr);
    return toast("The other end of the range is not loaded any more. Select shorter ranges.");
  }
  if (between.slice(1, -1).reduce((n, b) => n + b.count, 0) > selection.most) {
    check(tr);
    return selection.tooMany();
  }
  // Pages between that were dropped, after a jump, come back first.
  const mine = asking;
  await Promise.all(between.filter((b) => !b.rows).map(fetchBlock));
  if (mine !== asking || mine?.signal.aborted) return;
  if (between.some((b) => !b.rows)) {
    check(tr);
    return toast("Some of these events are not loaded yet. Select the range once more.");
  }
  const all = between.flatMap((b) => b.rows ?? []).map((row) => row.dataset.id ?? "");
  const [a, z] = [all.indexOf(from), all.indexOf(id)].sort((x, y) => x - y);
  selection.extend(all.slice(a, z + 1), id);
}

/** The blocks from one event to another, null if either is not in memory. @param {string} a @param {string} z */
function span(a, z) {
  const at = [a, z].map((id) => blocks.findIndex((b) => b.rows?.some((tr) => tr.dataset.id === id))).sort((x, y) => x - y);
  return at[0] < 0 ? null : blocks.slice(at[0], at[1] + 1);
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

let listening = false;

/**
 * @param {URLSearchParams} p what the server has answered with the page
 * @param {{open: (id: string) => void, addCondition: (column: string, value: string, not: boolean) => void, again: () => void, note: import("./view.js").App["note"]}} on
 */
export function listen(p, on) {
  if (listening) return;
  listening = true;
  question = p;
  again = on.again;
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);
  fresh.addEventListener("click", toTop);
  selection.listen(() => {
    for (const tr of body?.querySelectorAll("tr.event") ?? []) check(/** @type {HTMLElement} */ (tr));
  }, on.note);
  region.addEventListener("focusin", (e) => {
    // The cursor goes where the focus does.
    const tr = e.target instanceof Element ? e.target.closest("tr.event") : null;
    if (tr instanceof HTMLElement) choose(tr);
  });
  region.addEventListener("mousedown", (e) => {
    // With Shift rows are selected, not text.
    if (e.shiftKey && e.target instanceof Element && e.target.closest("tr.event")) e.preventDefault();
  });
  region.addEventListener("pointerover", (e) => {
    if (e.pointerType === "touch" || !(e.target instanceof Element) || pair.contains(e.target)) return;
    const cell = e.target.closest("tr.event [data-c]");
    if (!cell || cell.getAttribute("data-c") === "time" || !cell.getAttribute("data-v")) return pair.remove();
    if (pair.parentElement !== cell) cell.append(pair);
  });
  region.addEventListener("pointerleave", () => pair.remove());
  region.addEventListener("click", (e) => {
    if (!(e.target instanceof Element)) return;
    const box = e.target.closest("td.select");
    if (box || (e.shiftKey && e.target.closest("tr.event"))) {
      if (!box) e.preventDefault();
      select(e.target.closest("tr.event"), e.shiftKey);
      return;
    }
    if (e.metaKey || e.ctrlKey) return;
    const button = e.target.closest(".pair button");
    const cell = e.target.closest("[data-c]");
    if (button && cell) {
      pair.remove();
      on.addCondition(cell.getAttribute("data-c") ?? "", cell.getAttribute("data-v") ?? "", button === minus);
      return;
    }
    const tr = e.target.closest("tr.event");
    if (!(tr instanceof HTMLElement) || getSelection()?.toString()) return;
    e.preventDefault();
    choose(tr);
    on.open(tr.dataset.id ?? "");
  });
}
