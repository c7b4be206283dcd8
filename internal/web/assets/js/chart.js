// The histogram: failed requests at the bottom, the others stacked on them.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { scopeOf } from "./api.js";
import { byId } from "./dom.js";

/**
 * @typedef {{start: string, count: number, failed: number}} Bucket
 * @typedef {{buckets: Bucket[] | null, width_us: number, total: number}} Histogram
 */

const height = 112;
const host = byId("chart");
const panel = byId("chart-panel");
const total = byId("chart-total");
const read = byId("chart-read");

/** @type {any} */
let plot = null;
/** @type {Histogram | null} */
let shown = null;
/** @type {AbortController | null} */
let asking = null;
/** @type {(from: string, to: string) => void} */
let zoomed = () => {};

/** @param {(from: string, to: string) => void} f called with two times when a range was drawn */
export function onZoom(f) {
  zoomed = f;
}

/** @param {string} name */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {number} n */
function count(n) {
  return n.toLocaleString("en");
}

/** @param {number} seconds */
function iso(seconds) {
  return new Date(Math.round(seconds * 1000)).toISOString().replace(/\.000Z$/, "Z");
}

/** A time as the chart's width needs it. @param {number} seconds @param {number} width */
function label(seconds, width) {
  const s = iso(seconds);
  if (width >= 86400) return s.slice(0, 10);
  if (width >= 60) return s.slice(0, 10) + " " + s.slice(11, 16);
  if (width >= 1) return s.slice(0, 10) + " " + s.slice(11, 19);
  return s.slice(0, 10) + " " + s.slice(11).replace("Z", "");
}

/**
 * Asks for a histogram and draws it. A newer call ends an older one.
 * @param {import("./view.js").State} state
 */
export async function update(state) {
  asking?.abort();
  if (state.cel === null) {
    panel.hidden = true;
    return;
  }
  const ask = new AbortController();
  asking = ask;
  panel.hidden = false;
  panel.setAttribute("aria-busy", "true");
  const p = scopeOf(state);
  p.set("buckets", String(Math.max(30, Math.min(240, Math.floor(host.clientWidth / 9)))));
  try {
    const resp = await fetch("/api/v1/histogram?" + p, { signal: ask.signal });
    const answer = await resp.json();
    if (!resp.ok) throw new Error(answer.error?.message ?? `the server answered ${resp.status}`);
    draw(answer);
  } catch (err) {
    if (ask.signal.aborted) return;
    total.textContent = "The histogram is not there: " + /** @type {Error} */ (err).message;
    plot?.destroy();
    plot = null;
  }
  panel.removeAttribute("aria-busy");
}

/** @param {Histogram} h */
function draw(h) {
  shown = h;
  const buckets = h.buckets ?? [];
  const failed = buckets.reduce((n, b) => n + b.failed, 0);
  total.replaceChildren();
  const strong = document.createElement("strong");
  strong.textContent = count(h.total);
  total.append(strong, h.total === 1 ? " request" : " requests");
  if (failed) {
    const bad = document.createElement("span");
    bad.className = "bad";
    bad.textContent = `${count(failed)} failed`;
    total.append(" · ", bad);
  }
  if (buckets.length) {
    const last = Date.parse(buckets[buckets.length - 1].start) / 1000 + h.width_us / 1e6;
    const span = document.createElement("span");
    span.className = "quiet span";
    span.textContent = between(Date.parse(buckets[0].start) / 1000, last, h.width_us / 1e6);
    total.append(span);
  }
  host.setAttribute("aria-label", `Histogram: ${count(h.total)} requests, ${count(failed)} failed`);
  read.textContent = "";
  plot?.destroy();
  plot = null;
  host.classList.toggle("nothing", buckets.length === 0);
  if (!buckets.length) return;

  const width = h.width_us / 1e6;
  const x = buckets.map((b) => Date.parse(b.start) / 1000);
  const all = buckets.map((b) => b.count || null);
  const bad = buckets.map((b) => b.failed || null);
  const bars = uPlot.paths.bars({ size: [0.86, 64], align: 1, radius: 0.12 });
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px " + getComputedStyle(document.body).fontFamily };
  plot = new uPlot(
    {
      width: host.clientWidth,
      height,
      padding: [6, 8, 0, 0],
      tzDate: (/** @type {number} */ ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false, dist: 4 } },
      scales: { x: { time: true, range: () => [x[0], x[x.length - 1] + width] }, y: { range: (/** @type {any} */ _u, /** @type {number} */ _a, /** @type {number} */ max) => [0, Math.max(1, max * 1.05)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 24, gap: 4, space: 84, values: dayClock },
        { ...axis, size: 44, gap: 6, splits: (/** @type {any} */ u) => ticks(u.scales.y.max), values: (/** @type {any} */ _u, /** @type {number[]} */ v) => v.map((n) => (n ? short(n) : "")) },
      ],
      series: [
        {},
        { paths: bars, fill: colour("--bar-ok"), stroke: "transparent", width: 0, points: { show: false } },
        { paths: bars, fill: colour("--bar-bad"), stroke: "transparent", width: 0, points: { show: false } },
      ],
      hooks: {
        setCursor: [(/** @type {any} */ u) => readOut(u, width)],
        setSelect: [
          (/** @type {any} */ u) => {
            if (u.select.width < 4) return;
            const from = u.posToVal(u.select.left, "x");
            const to = u.posToVal(u.select.left + u.select.width, "x");
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            zoomed(iso(from), iso(to));
          },
        ],
      },
    },
    [x, all, bad],
    host,
  );
}

/** A span of time in words. @param {number} from @param {number} to @param {number} width */
function between(from, to, width) {
  const [a, b] = [label(from, width), label(to, width)];
  return a.slice(0, 10) === b.slice(0, 10) && b.length > 10 ? `${a} – ${b.slice(11)}` : `${a} – ${b}`;
}

/** The bar below the pointer, in words. @param {any} u @param {number} width */
function readOut(u, width) {
  // The bar that the pointer is in, which starts at or before it.
  const at = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : NaN;
  const bucket = (shown?.buckets ?? []).find((b) => {
    const s = Date.parse(b.start) / 1000;
    return at >= s && at < s + width;
  });
  read.textContent = bucket
    ? `${label(Date.parse(bucket.start) / 1000, width)} · ${count(bucket.count)} requests${bucket.failed ? `, ${count(bucket.failed)} failed` : ""}`
    : "";
}

/** Zero, the middle and the top, at round numbers. @param {number} max */
function ticks(max) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(max, 1)));
  const step = [0.2, 0.5, 1, 2, 5].map((s) => s * unit).find((s) => max / s <= 3.2 && s >= 1) ?? Math.max(1, unit);
  const out = [];
  for (let v = 0; v <= max; v += step) out.push(v);
  return out;
}

/** @param {number} v */
function short(v) {
  return Intl.NumberFormat("en", { notation: "compact" }).format(v);
}

/** Labels of the time axis, with the day where it begins. @param {any} _u @param {number[]} splits */
function dayClock(_u, splits) {
  let day = splits.length ? iso(splits[0]).slice(0, 10) : "";
  const step = splits.length > 1 ? splits[1] - splits[0] : 1;
  return splits.map((t) => {
    const s = iso(t);
    if (step >= 86400) return s.slice(5, 10);
    const clock = step >= 60 ? s.slice(11, 16) : s.slice(11, 19);
    const first = s.slice(0, 10) !== day;
    day = s.slice(0, 10);
    return first ? `${day.slice(5)} ${clock}` : clock;
  });
}

/** Draws what is there again, after a change of size or of colours. */
function again() {
  if (shown && !panel.hidden) draw(shown);
}

let width = 0;
new ResizeObserver(() => {
  if (host.clientWidth === width) return;
  width = host.clientWidth;
  if (plot) plot.setSize({ width, height });
}).observe(host);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
