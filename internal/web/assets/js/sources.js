// The Sources view: the server draws what is; this asks for it every few seconds,
// live every second, and draws what changes over time: lag and rate of the last
// hour, of which the server keeps a sample for each ten seconds, and when each
// source's events were.

import { APIError, ask, scopeOf } from "./api.js";
import { byId, element, load } from "./dom.js";
import { say } from "./live.js";
import { quote } from "./state.js";
import { failure } from "./states.js";
import { timeElement } from "./time.js";

/** @typedef {import("./view.js").State} State */
/** @typedef {{start: string, count: number}} Bucket */
/** @typedef {{buckets: Bucket[] | null, width_us: number, total: number}} Histogram */
/** @typedef {{at: number, lag: number, rate: number}} Sample at is in ms since 1970 */

const every = 5000; // ms
const everyLive = 1000;
const countLive = 10000; // ms between questions for when the events were, live
const span = 60 * 60 * 1000; // ms of lag and rate that are drawn
const between = 10 * 1000; // ms between two samples, as the server takes them
const svgNS = "http://www.w3.org/2000/svg";

/** @type {import("./view.js").App} */
let app;
let timer = 0;
let counted = 0; // when the events' times were asked for
let taken = 0; // when the last sample was
let began = 0; // when the server started, by this browser's clock; 0 if it does not say
let asking = new AbortController();
/** Of what the view was told to draw last. @type {AbortSignal} */
let drawing = asking.signal;
/** The sections as the server made them: what did not change is left alone. @type {Node[]} */
let shown = [];
/** @type {Map<string, Sample[]>} */
const samples = new Map();
/** @type {Map<string, Histogram>} */
const arrivals = new Map();

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function svg(tag, attributes) {
  const el = document.createElementNS(svgNS, tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, String(value));
  return el;
}

function cards() {
  return /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#sources .source")]);
}

/** Takes over what the server has kept. @param {AbortSignal} signal */
async function past(signal) {
  /** @type {{trends?: {now: string, since: string, sources: {name: string, samples: {at: string, lag_bytes: number, events_per_second: number}[]}[]}}} */
  const { trends } = await ask("sources", new URLSearchParams({ trends: "true" }), { signal });
  if (!trends) return;
  const shift = Date.now() - Date.parse(trends.now);
  began = Date.parse(trends.since) + shift;
  samples.clear();
  for (const s of trends.sources) samples.set(s.name, s.samples.map((one) => ({ at: Date.parse(one.at) + shift, lag: one.lag_bytes, rate: one.events_per_second })));
}

/** Keeps what the cards say now, after what was before if that is not known. @param {AbortSignal} signal */
async function take(signal) {
  if (Date.now() - taken > 3 * between) await past(signal); // the first time, or nobody looked for a while
  const at = Date.now();
  taken = at;
  for (const card of cards()) {
    const name = card.dataset.source ?? "";
    const now = (/** @type {string} */ kind) => Number(card.querySelector(`[data-trend=${kind}]`)?.getAttribute("data-now") ?? 0);
    const list = samples.get(name) ?? [];
    // Asked for more often than the server takes them: only the last stays.
    if (list.length > 1 && at - list[list.length - 2].at < between) list.pop();
    list.push({ at, lag: now("lag"), rate: now("rate") });
    samples.set(name, list.filter((s) => s.at > at - span));
  }
}

function draw() {
  for (const card of cards()) {
    const name = card.dataset.source ?? "";
    for (const kind of /** @type {const} */ (["lag", "rate"])) {
      card.querySelector(`[data-trend=${kind}]`)?.replaceChildren(...trend(samples.get(name) ?? [], kind));
    }
    const host = /** @type {HTMLElement} */ (card.querySelector(".arrivals"));
    const h = arrivals.get(name);
    if (h) host.replaceChildren(...chart(h, host.dataset.gaps ?? ""));
  }
}

/** What time a line is of. @param {Sample[]} list */
function reached(list) {
  const first = list[0].at;
  if (list[list.length - 1].at - first > span - 3 * between) return "the last hour";
  if (!began) return "since this page was opened";
  return first - began < 3 * between ? "since the server started" : "since it was first seen";
}

/** A line of values, the newest at the right. @param {Sample[]} list @param {"lag" | "rate"} kind @returns {Element[]} */
function trend(list, kind) {
  if (list.length < 2) return [];
  const top = Math.max(...list.map((s) => s[kind]), 1);
  const end = list[list.length - 1].at;
  const words = reached(list);
  const el = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" });
  el.setAttribute("aria-label", `${kind}, ${words}, at most ${Math.round(top).toLocaleString("en")}`);
  el.append(svg("polyline", { points: list.map((s) => `${1000 - (1000 * (end - s.at)) / span},${98 - (96 * s[kind]) / top}`).join(" ") }));
  return [el, element("small", "", words)];
}

/** When events were, with gaps marked. @param {Histogram} h @param {string} gaps @returns {Element[]} */
function chart(h, gaps) {
  const buckets = h.buckets ?? [];
  const caption = element("figcaption", "", "");
  caption.append(element("b", "", "Events over time"), element("span", "", `${h.total.toLocaleString("en")} lines in the range, every stage`));
  if (!buckets.length) return [caption];
  const width = h.width_us / 1000;
  const start = Date.parse(buckets[0].start);
  const end = Date.parse(buckets[buckets.length - 1].start) + width;
  const top = Math.max(...buckets.map((b) => b.count), 1);
  const x = (/** @type {number} */ ms) => Math.max(0, Math.min(1000, (1000 * (ms - start)) / (end - start)));
  const el = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": `${h.total} events over time` });
  let holes = 0;
  for (const gap of gaps.split(" ").filter(Boolean)) {
    const [a, b] = gap.split("/");
    const [from, to] = [a ? x(Date.parse(a)) : 0, b ? x(Date.parse(b)) : 1000];
    if (to <= 0 || from >= 1000) continue;
    holes++;
    el.append(svg("rect", { class: "hole", x: from, y: 0, width: Math.max(4, to - from), height: 100 }));
  }
  const step = 1000 / buckets.length;
  buckets.forEach((b, i) => {
    if (!b.count) return;
    const height = Math.max(2, (96 * b.count) / top);
    el.append(svg("rect", { class: "bar", x: i * step + step * 0.08, y: 100 - height, width: step * 0.84, height }));
  });
  if (holes) caption.append(element("span", "", holes === 1 ? "the dashed stretch is a gap" : `the ${holes} dashed stretches are gaps`));
  const ends = element("div", "ends", "");
  ends.append(timeElement(start, "second"), timeElement(end, "second"));
  return [caption, el, ends];
}

/**
 * Where an open range begins, so that a gap before the first event is in the
 * picture; "" lets the server choose.
 * @param {string} gaps
 */
function reach(gaps) {
  const first = document.querySelector("#sources .store time")?.getAttribute("datetime");
  const known = [first ?? "", ...gaps.split(" ").map((g) => g.split("/")[0])].filter((t) => t);
  return first ? (known.sort()[0] ?? "") : "";
}

/** Asks when each source's events were. @param {State} state @param {AbortSignal} signal */
async function askArrivals(state, signal) {
  counted = Date.now();
  if (state.cel === null) {
    arrivals.clear();
    for (const card of cards()) card.querySelector(".arrivals")?.replaceChildren();
    return;
  }
  for (const card of cards()) {
    await askArrival(card.dataset.source ?? "", state, signal);
    if (signal.aborted) return;
  }
}

/** @param {string} name of a source @param {State} state @param {AbortSignal} signal */
async function askArrival(name, state, signal) {
  const host = () => /** @type {HTMLElement | undefined} */ (cards().find((c) => c.dataset.source === name)?.querySelector(".arrivals"));
  // Every line counts here, not each request once; the filter of the other views does not.
  const since = state.since || reach(host()?.dataset.gaps ?? "");
  const p = scopeOf({ ...state, since, cel: `source == ${quote(name)} && stage != ""` }, { buckets: 120 });
  try {
    arrivals.set(name, await ask("histogram", p, { signal }));
    draw();
  } catch (err) {
    if (signal.aborted || (err instanceof APIError && err.code === "filter")) return;
    arrivals.delete(name);
    host()?.replaceChildren(failure(err, () => askArrival(name, app.state(), drawing)));
  }
}

/** Asks for what is now. A newer call ends an older one. */
async function refresh() {
  asking.abort();
  const mine = new AbortController();
  asking = mine;
  try {
    patch(await load("/page/sources", mine.signal));
    await take(mine.signal);
    draw();
    say("");
  } catch (err) {
    // The pill in the header says that the server is not there; what was known stays.
    if (!mine.signal.aborted && app.state().live) say(/** @type {Error} */ (err).message);
  }
}

/** Replaces the sections that changed, so that focus and selection stay in the others. @param {DocumentFragment} html */
function patch(html) {
  const now = byId("sources-now");
  const fresh = [...html.children];
  const made = fresh.map((el) => el.cloneNode(true));
  if (fresh.length !== now.children.length) now.replaceChildren(...fresh);
  else fresh.forEach((el, i) => !made[i].isEqualNode(shown[i]) && now.children[i].replaceWith(el));
  shown = made;
}

/** Asks by itself, one thing after the other however slow the server is. */
function later() {
  clearTimeout(timer);
  timer = window.setTimeout(async () => {
    const state = app.state();
    if (!document.hidden) {
      await refresh();
      if (state.live && Date.now() - counted > countLive) await askArrivals(state, asking.signal);
    }
    later();
  }, app.state().live ? everyLive : every);
}

/** @type {import("./view.js").View} */
export const view = {
  own: [],

  mount(_root, shell) {
    app = shell;
    shown = [...byId("sources-now").children].map((el) => el.cloneNode(true));
  },

  async update(state, _before, why) {
    drawing = why.signal;
    if (why.zone) draw();
    later();
    if (!why.first && !why.asked) return;
    if (why.asked || why.first) await refresh();
    await askArrivals(state, why.signal);
  },

  unmount() {
    clearTimeout(timer);
    asking.abort();
  },

  key(e) {
    if (e.key !== "r") return false;
    app.again();
    return true;
  },
};
