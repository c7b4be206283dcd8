// The histogram: requests over time, stacked by outcome, with a brush that sets
// the range. Outcomes differ by pattern too, not by colour alone.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { ask, scopeOf } from "./api.js";
import { byId, element } from "./dom.js";
import { dayStart, text } from "./time.js";

/**
 * @typedef {{start: string, count: number, failed: number, denied: number, errors: number}} Bucket
 * @typedef {{buckets: Bucket[] | null, width_us: number, total: number}} Histogram
 */

const height = 112;
const yAxis = 44; // px, with its labels
const host = byId("chart");
const panel = byId("chart-panel");
const total = byId("chart-total");
const read = byId("chart-read");

/** The outcomes from the bottom of a bar to its top, and how many a bucket has. */
const outcomes = [
  { name: "error", title: "server error", of: (/** @type {Bucket} */ b) => b.errors },
  { name: "denied", title: "denied", of: (/** @type {Bucket} */ b) => b.denied },
  { name: "failed", title: "failed", of: (/** @type {Bucket} */ b) => b.failed - b.denied - b.errors },
  { name: "ok", title: "ok", of: (/** @type {Bucket} */ b) => b.count - b.failed },
];

/** @type {any} */
let plot = null;
/** @type {Histogram | null} */
let shown = null;
/** @type {AbortController | null} */
let asking = null;
/** @type {(from: string, to: string) => void} */
let zoomed = () => {};
/** The brush of the keyboard, as numbers of bars. @type {{at: number, from: number} | null} */
let brush = null;

/** @param {(from: string, to: string) => void} f called with two times when a range was drawn */
export function onZoom(f) {
  zoomed = f;
}

/** @param {string} name */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axisFont() {
  return "11px " + getComputedStyle(document.body).fontFamily;
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
  const ms = Math.round(seconds * 1000);
  if (width >= 86400) return text(ms, "day");
  if (width >= 60) return text(ms, "minute");
  if (width >= 1) return text(ms, "second");
  return text(ms, "day") + " " + text(ms, "clock");
}

/** @param {Bucket} b */
function startOf(b) {
  return Date.parse(b.start) / 1000;
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
  const mine = new AbortController();
  asking = mine;
  panel.hidden = false;
  panel.setAttribute("aria-busy", "true");
  const buckets = Math.max(30, Math.min(240, Math.floor(host.clientWidth / 9)));
  try {
    draw(await ask("histogram", scopeOf(state, { buckets }), { signal: mine.signal }));
  } catch (err) {
    if (mine.signal.aborted) return;
    const told = element("span", err instanceof TypeError ? "gone" : "", "The histogram is not there: " + /** @type {Error} */ (err).message + " ");
    const button = element("button", "small", "Try again");
    button.setAttribute("type", "button");
    button.addEventListener("click", () => update(state));
    told.append(button);
    total.replaceChildren(told);
    host.setAttribute("aria-label", "Histogram of requests, not there");
    read.textContent = "";
    plot?.destroy();
    plot = shown = brush = null;
  }
  panel.removeAttribute("aria-busy");
}

/** Ends what is asked. */
export function stop() {
  asking?.abort();
  panel.removeAttribute("aria-busy");
}

/** Whether a range is being chosen: then nothing is to be drawn anew below the reader's hands. */
export function brushing() {
  return brush !== null || plot?.select.width > 0;
}

/** How many had which outcome, in words. @param {Bucket[]} buckets */
function sums(buckets) {
  return outcomes
    .filter((o) => o.name !== "ok")
    .map((o) => ({ ...o, n: buckets.reduce((n, b) => n + o.of(b), 0) }))
    .filter((o) => o.n > 0);
}

/** @param {Histogram} h */
function draw(h) {
  shown = h;
  brush = null;
  const buckets = h.buckets ?? [];
  const failed = buckets.reduce((n, b) => n + b.failed, 0);
  total.replaceChildren(element("strong", "", count(h.total)), h.total === 1 ? " request" : " requests");
  if (failed) {
    total.append(" · ", element("span", "bad", `${count(failed)} failed`));
    const parts = sums(buckets);
    if (parts.length > 1) total.append(element("span", "quiet", ` (${parts.map((o) => `${count(o.n)} ${o.name === "failed" ? "other" : o.title}`).join(", ")})`));
    else if (parts[0].name !== "failed") total.append(element("span", "quiet", ` (${parts[0].title})`));
  }
  const width = h.width_us / 1e6;
  if (buckets.length) total.append(element("span", "quiet span", between(startOf(buckets[0]), startOf(buckets[buckets.length - 1]) + width, width)));
  host.setAttribute("aria-label", `Histogram of ${count(h.total)} requests${sums(buckets).map((o) => `, ${count(o.n)} ${o.title}`).join("")}. Arrows move over the bars, with Shift they choose a range, Enter takes it.`);
  read.textContent = "";
  plot?.destroy();
  plot = null;
  host.classList.toggle("nothing", buckets.length === 0);
  if (!buckets.length) return;

  const x = buckets.map(startOf);
  // Drawn from the tallest to the lowest: each covers the foot of the one before.
  const stacked = outcomes.map((_o, i) => buckets.map((b) => outcomes.slice(0, i + 1).reduce((n, o) => n + o.of(b), 0) || null)).reverse();
  const names = outcomes.map((o) => o.name).reverse();
  const bars = uPlot.paths.bars({ size: [0.86, 64], align: 1, radius: 0.08 });
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: axisFont() };
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
        { ...axis, size: yAxis, gap: 6, splits: (/** @type {any} */ u) => ticks(u.scales.y.max), values: (/** @type {any} */ _u, /** @type {number[]} */ v) => v.map((n) => (n ? short(n) : "")) },
      ],
      series: [{}, ...names.map((name) => ({ paths: bars, fill: () => pattern(name), stroke: "transparent", width: 0, points: { show: false } }))],
      hooks: {
        setCursor: [(/** @type {any} */ u) => readOut(u, width)],
        setSelect: [
          (/** @type {any} */ u) => {
            // A range under way by keyboard is taken by Enter.
            if (brush || u.select.width < 4) return;
            const from = u.posToVal(u.select.left, "x");
            const to = u.posToVal(u.select.left + u.select.width, "x");
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            zoomed(iso(from), iso(to));
          },
        ],
      },
    },
    [x, ...stacked],
    host,
  );
}

/** How an outcome is filled: plain, or with strokes that tell it apart. @param {string} name */
function pattern(name) {
  const ratio = devicePixelRatio || 1;
  const size = Math.round(6 * ratio);
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const c = tile.getContext("2d");
  if (!c) return colour(`--bar-${name}`);
  // Opaque, so that the bar behind does not shine through.
  c.fillStyle = colour("--surface");
  c.fillRect(0, 0, size, size);
  c.fillStyle = c.strokeStyle = colour(`--bar-${name}`);
  c.lineWidth = 1.6 * ratio;
  if (name === "denied") {
    c.beginPath();
    for (const d of [-size, 0, size]) {
      c.moveTo(d - 1, size + 1);
      c.lineTo(d + size + 1, -1);
    }
    c.stroke();
    c.globalAlpha = 0.35;
    c.fillRect(0, 0, size, size);
  } else if (name === "failed") {
    c.globalAlpha = 0.3;
    c.fillRect(0, 0, size, size);
    c.globalAlpha = 1;
    for (const [x, y] of [[0.25, 0.25], [0.75, 0.75]]) {
      c.beginPath();
      c.arc(x * size, y * size, 1.1 * ratio, 0, 7);
      c.fill();
    }
  } else {
    c.fillRect(0, 0, size, size);
  }
  return c.createPattern(tile, "repeat") ?? colour(`--bar-${name}`);
}

/** A span of time in words. @param {number} from @param {number} to @param {number} width */
function between(from, to, width) {
  const [a, b] = [label(from, width), label(to, width)];
  return a.slice(0, 10) === b.slice(0, 10) && b.length > 10 ? `${a} – ${b.slice(11)}` : `${a} – ${b}`;
}

/** A bar in words. @param {Bucket} b @param {number} width */
function words(b, width) {
  return `${label(startOf(b), width)} · ${count(b.count)} ${b.count === 1 ? "request" : "requests"}${sums([b]).map((o) => `, ${count(o.n)} ${o.title}`).join("")}`;
}

/** The bar below the pointer, in words. @param {any} u @param {number} width */
function readOut(u, width) {
  if (brush) return;
  // The bar that the pointer is in, which starts at or before it.
  const at = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : NaN;
  const bucket = (shown?.buckets ?? []).find((b) => at >= startOf(b) && at < startOf(b) + width);
  read.textContent = bucket ? words(bucket, width) : "";
}

/** Shows the brush of the keyboard, or takes it away. */
function drawBrush() {
  if (!plot || !shown?.buckets) return;
  if (!brush) {
    read.textContent = "";
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    return;
  }
  const width = shown.width_us / 1e6;
  const [a, b] = [Math.min(brush.at, brush.from), Math.max(brush.at, brush.from)];
  const left = plot.valToPos(startOf(shown.buckets[a]), "x");
  const right = plot.valToPos(startOf(shown.buckets[b]) + width, "x");
  plot.setSelect({ left, top: 0, width: right - left, height: plot.over.clientHeight }, false);
  read.textContent = a === b ? words(shown.buckets[a], width) : between(startOf(shown.buckets[a]), startOf(shown.buckets[b]) + width, width);
}

host.addEventListener("keydown", (e) => {
  const buckets = shown?.buckets ?? [];
  if (!plot || !shown || !buckets.length || e.ctrlKey || e.metaKey || e.altKey) return;
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -buckets.length, End: buckets.length }[e.key];
  if (step !== undefined) {
    const at = brush ? brush.at + step : step > 0 ? 0 : buckets.length - 1;
    const to = Math.max(0, Math.min(buckets.length - 1, at));
    brush = { at: to, from: e.shiftKey && brush ? brush.from : to };
    drawBrush();
  } else if (e.key === "Enter" && brush) {
    const [a, b] = [Math.min(brush.at, brush.from), Math.max(brush.at, brush.from)];
    const [from, to] = [startOf(buckets[a]), startOf(buckets[b]) + shown.width_us / 1e6];
    brush = null;
    drawBrush();
    zoomed(iso(from), iso(to));
  } else if (e.key === "Escape" && brush) {
    brush = null;
    drawBrush();
  } else {
    return;
  }
  e.preventDefault();
  e.stopPropagation();
});
host.addEventListener("blur", () => {
  brush = null;
  drawBrush();
});

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

const inkWidth = document.createElement("canvas").getContext("2d");

/** Labels of the time axis, with the day where it begins. What the edge would cut off is left out. @param {any} u @param {number[]} splits */
function dayClock(u, splits) {
  if (inkWidth) inkWidth.font = axisFont();
  const fits = (/** @type {string} */ said, /** @type {number} */ t) => {
    const [at, half] = [yAxis + u.valToPos(t, "x"), (inkWidth?.measureText(said).width ?? 0) / 2];
    return at >= half && at + half <= u.width;
  };
  let day = splits.length ? dayStart(splits[0] * 1000) : 0;
  const step = splits.length > 1 ? splits[1] - splits[0] : 1;
  return splits.map((t) => {
    const ms = Math.round(t * 1000);
    const date = text(ms, "day").slice(5);
    if (step >= 86400) return date;
    const digits = Math.min(3, Math.ceil(-Math.log10(step) - 0.001));
    const clock = step >= 60 ? text(ms, "minute").slice(11) : text(ms, "second").slice(11) + (digits > 0 ? "." + String(ms % 1000).padStart(3, "0").slice(0, digits) : "");
    const first = dayStart(ms) !== day;
    day = dayStart(ms);
    const clockOrDay = first ? `${date} ${clock}` : clock;
    return fits(clockOrDay, t) ? clockOrDay : "";
  });
}

/** Draws what is there again, after a change of colours or of the time zone. */
export function again() {
  if (shown && !panel.hidden) draw(shown);
}

let width = 0;
new ResizeObserver(() => {
  if (host.clientWidth === width) return;
  width = host.clientWidth;
  if (plot) plot.setSize({ width, height });
}).observe(host);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
