// The Sources view: the server draws what is; this asks for it every few seconds,
// and draws what changes over time: lag and rate since the page was opened, and
// when each source's events were.

import { APIError, ask, scopeOf } from "./api.js";
import { byId, element, load } from "./dom.js";
import { quote } from "./state.js";
import { failure } from "./states.js";
import { timeElement } from "./time.js";

/** @typedef {import("./view.js").State} State */
/** @typedef {{start: string, count: number}} Bucket */
/** @typedef {{buckets: Bucket[] | null, width_us: number, total: number}} Histogram */
/** @typedef {{lag: number, rate: number}} Sample */

const every = 5000; // ms
const most = 120; // samples: ten minutes
const svgNS = "http://www.w3.org/2000/svg";

/** @type {import("./view.js").App} */
let app;
let timer = 0;
let shown = ""; // the HTML that is drawn, so that what did not change is left alone
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

/** Keeps what the cards say now. */
function take() {
  for (const card of cards()) {
    const name = card.dataset.source ?? "";
    const now = (/** @type {string} */ kind) => Number(card.querySelector(`[data-trend=${kind}]`)?.getAttribute("data-now") ?? 0);
    const list = samples.get(name) ?? [];
    list.push({ lag: now("lag"), rate: now("rate") });
    samples.set(name, list.slice(-most));
  }
}

function draw() {
  for (const card of cards()) {
    const name = card.dataset.source ?? "";
    for (const kind of /** @type {const} */ (["lag", "rate"])) {
      const values = (samples.get(name) ?? []).map((s) => s[kind]);
      card.querySelector(`[data-trend=${kind}]`)?.replaceChildren(...trend(values, kind));
    }
    const host = /** @type {HTMLElement} */ (card.querySelector(".arrivals"));
    const h = arrivals.get(name);
    if (h) host.replaceChildren(...chart(h, host.dataset.gaps ?? ""));
  }
}

/** A line of values, the newest at the right. @param {number[]} values @param {string} what @returns {Element[]} */
function trend(values, what) {
  if (values.length < 2) return [];
  const top = Math.max(...values, 1);
  const el = svg("svg", { viewBox: `0 0 ${most - 1} 100`, preserveAspectRatio: "none", role: "img", "aria-label": `${what} since this page was opened, at most ${Math.round(top).toLocaleString("en")}` });
  const from = most - values.length;
  el.append(svg("polyline", { points: values.map((v, i) => `${from + i},${98 - (96 * v) / top}`).join(" ") }));
  return [el];
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
  for (const card of cards()) {
    const name = card.dataset.source ?? "";
    const host = /** @type {HTMLElement} */ (card.querySelector(".arrivals"));
    // Every line counts here, not each request once; the filter of the other views does not.
    const since = state.since || reach(host.dataset.gaps ?? "");
    const p = scopeOf({ ...state, since, cel: `source == ${quote(name)} && stage != ""` }, { buckets: 120 });
    try {
      arrivals.set(name, await ask("histogram", p, { signal }));
    } catch (err) {
      if (signal.aborted) return;
      if (err instanceof APIError && err.code === "filter") continue;
      host.replaceChildren(failure(err));
    }
  }
  draw();
}

/** @param {AbortSignal} [signal] */
async function refresh(signal) {
  if (document.hidden) return;
  try {
    const html = await load("/page/sources", signal);
    const text = html.textContent ?? "";
    if (text !== shown) byId("sources-now").replaceChildren(html);
    else copyNow(html);
    shown = text;
    take();
    draw();
  } catch {
    // The pill in the header says that the server is not there; what was known stays.
  }
}

/** Takes over the figures that are in attributes alone. @param {DocumentFragment} html */
function copyNow(html) {
  const fresh = [...html.querySelectorAll("[data-now]")];
  document.querySelectorAll("#sources-now [data-now]").forEach((el, i) => el.setAttribute("data-now", fresh[i]?.getAttribute("data-now") ?? "0"));
}

/** @type {import("./view.js").View} */
export const view = {
  own: [],

  mount(_root, shell) {
    app = shell;
    take();
    timer = window.setInterval(() => refresh(), every);
  },

  async update(state, _before, why) {
    if (why.zone) draw();
    if (!why.first && !why.asked) return;
    if (why.asked) await refresh(why.signal);
    await askArrivals(state, why.signal);
  },

  unmount() {
    clearInterval(timer);
  },

  key(e) {
    if (e.key !== "r") return false;
    app.go(() => {}, { replace: true, again: true });
    return true;
  },
};
