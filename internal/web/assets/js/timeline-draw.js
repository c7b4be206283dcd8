// Paints rows of marks on a canvas. Colour is the class of a verb, and so is the
// place in the row: writes in the middle on the bar of the object's life, reads
// below, exec and the rest above. Shape is the outcome. Only what is in sight is
// looked at, and of the marks of one kind in one pixel one is drawn.

import { classes, outcomes } from "./timeline-data.js";

/** @typedef {import("./timeline-data.js").Row} Row */

export const rowHeight = 24;

/**
 * @typedef {object} Scene
 * @property {Row[]} rows
 * @property {number} first row that is drawn
 * @property {number} last one behind the last row that is drawn
 * @property {number} width of the canvas in CSS pixels
 * @property {number} from left edge, in ms
 * @property {number} to right edge
 * @property {number[]} grid times of the ruler's ticks
 * @property {string} selected ID of a row, or ""
 * @property {{t: number, text: string}[]} names who made the selected row's revisions, in order
 * @property {number} active row, -1 for none
 * @property {[number, number]} known range that was asked; what is outside is not known
 */

/** @typedef {Record<string, string>} Colours */

/** Reads the colours that the style sheet has for this scheme. @param {Element} el @returns {Colours} */
export function readColours(el) {
  const style = getComputedStyle(el);
  const get = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  /** @type {Colours} */
  const c = { text: get("--text"), muted: get("--muted"), grid: get("--grid"), line: get("--line"), surface: get("--surface"), life: get("--tl-life"), edge: get("--tl-edge"), selected: get("--accent-weak"), hover: get("--hover"), font: style.fontFamily };
  for (const name of classes) c[name] = get("--tl-" + name);
  return c;
}

// How far from the row's middle the marks of each class are.
const offsets = [0, 0, 0, 8, -8, -8];
const kinds = classes.length * outcomes.length;
// Reads first, so that writes lie over them; deletions last.
const order = [3, 5, 4, 1, 0, 2];

/** Points of each kind, kept from frame to frame so that nothing is allocated. @type {Float32Array[]} */
const points = Array.from({ length: kinds }, () => new Float32Array(256));
const used = new Uint32Array(kinds);
const lastX = new Int32Array(kinds);

/** @param {number} kind @param {number} x @param {number} y */
function put(kind, x, y) {
  let a = points[kind];
  const n = used[kind];
  if (n + 2 > a.length) {
    const b = new Float32Array(a.length * 2);
    b.set(a);
    points[kind] = a = b;
  }
  a[n] = x;
  a[n + 1] = y;
  used[kind] = n + 2;
}

/**
 * Paints; the first row's top is at 0. Returns how many marks were drawn.
 * @param {CanvasRenderingContext2D} ctx
 * @param {Scene} s
 * @param {Colours} colour
 */
export function paint(ctx, s, colour) {
  const height = (s.last - s.first) * rowHeight;
  const scale = s.width / (s.to - s.from);
  ctx.fillStyle = colour.surface; // all of it: the canvas has no transparency, which is faster
  ctx.fillRect(0, 0, s.width, 1e5);
  used.fill(0);

  for (let r = s.first; r < s.last; r++) {
    const on = s.rows[r].id === s.selected;
    if (!on && r !== s.active) continue;
    ctx.fillStyle = on ? colour.selected : colour.hover;
    ctx.fillRect(0, (r - s.first) * rowHeight, s.width, rowHeight);
  }
  ctx.fillStyle = colour.grid;
  for (const t of s.grid) ctx.fillRect(Math.round((t - s.from) * scale), 0, 1, height);
  for (let r = s.first; r < s.last; r++) ctx.fillRect(0, (r - s.first + 1) * rowHeight - 1, s.width, 1);
  unknown(ctx, s, colour, scale, height);

  for (let r = s.first; r < s.last; r++) {
    const row = s.rows[r];
    const y = (r - s.first) * rowHeight + rowHeight / 2;
    life(ctx, row, s, colour, scale, y);
    lastX.fill(-100);
    const slack = 6 / scale; // a mark is wider than its time
    for (const { lane, i, j } of row.parts(s.from - slack, s.to + slack)) {
      const { time, kind } = lane;
      for (let k = i; k < j; k++) {
        const x = (time[k] - s.from) * scale;
        const pixel = x | 0;
        const which = kind[k];
        if (pixel === lastX[which]) continue;
        lastX[which] = pixel;
        put(which, x, y + offsets[which >> 2]);
      }
    }
  }

  let drawn = 0;
  for (const c of order) {
    for (let o = 0; o < 4; o++) {
      const kind = c * 4 + o;
      if (!used[kind]) continue;
      drawn += used[kind] / 2;
      shape(ctx, c, o, points[kind], used[kind], colour);
    }
  }
  return drawn;
}

/** What was not asked is not empty: it is shaded. @param {CanvasRenderingContext2D} ctx @param {Scene} s @param {Colours} colour @param {number} scale @param {number} height */
function unknown(ctx, s, colour, scale, height) {
  const [a, b] = s.known.map((t) => Math.min(s.width, Math.max(0, (t - s.from) * scale)));
  ctx.fillStyle = colour.line;
  ctx.globalAlpha = 0.45;
  if (a > 0.5) ctx.fillRect(0, 0, a, height);
  if (b < s.width - 0.5) ctx.fillRect(b, 0, s.width - b, height);
  ctx.globalAlpha = 1;
}

/** The bars of an object's lives. @param {CanvasRenderingContext2D} ctx @param {Row} row @param {Scene} s @param {Colours} colour @param {number} scale @param {number} y */
function life(ctx, row, s, colour, scale, y) {
  for (const span of row.spans()) {
    const from = Math.max(-4, (Math.max(span.from, s.from - 1e15) - s.from) * scale);
    const to = Math.min(s.width + 4, (Math.min(span.to, s.to + 1e15) - s.from) * scale);
    if (to < 0 || from > s.width) continue;
    const lost = span.lost ? (span.lost.time - s.from) * scale : Infinity;
    const sure = Math.max(1, Math.min(to, lost) - from);
    ctx.fillStyle = colour.life;
    ctx.fillRect(from, y - 4, sure, 8);
    ctx.fillStyle = colour.edge;
    // What may not be there any more is dotted.
    for (let x = Math.max(from + sure, (lost % 6) - 6); x < to; x += 6) for (const at of [y - 4, y + 3]) ctx.fillRect(x, at, 2, 1);
    ctx.fillRect(from, y - 4, sure, 1);
    ctx.fillRect(from, y + 3, sure, 1);
    if (lost > -6 && lost < s.width + 6) hollow(ctx, lost, y, colour);
  }
  if (row.id !== s.selected || !s.names.length) return;
  ctx.font = `10.5px ${colour.font}`;
  ctx.textBaseline = "middle";
  let free = -Infinity;
  for (let i = 0; i < s.names.length; i++) {
    const x = (s.names[i].t - s.from) * scale;
    const next = nextMark(row, s, s.names[i].t + 3 / scale, scale);
    if (next < 0 || x > s.width || next - x < 48 || x < free) continue;
    const left = Math.max(4, x + 7);
    const text = fit(ctx, s.names[i].text, next - left - 6);
    if (!text) continue;
    const w = ctx.measureText(text).width;
    ctx.fillStyle = colour.surface;
    ctx.fillRect(left - 2, y - 6, w + 4, 12);
    ctx.fillStyle = colour.text;
    ctx.fillText(text, left, y + 0.5);
    free = left + w;
  }
}

/** A deletion that may have been of others. @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {Colours} colour */
export function hollow(ctx, x, y, colour) {
  ctx.fillStyle = colour.surface;
  ctx.fillRect(x - 4.5, y - 4.5, 9, 9);
  ctx.strokeStyle = colour.delete;
  ctx.lineWidth = 1.6;
  ctx.strokeRect(x - 3.7, y - 3.7, 7.4, 7.4);
}

/** Where there is something again, a read aside. @param {Row} row @param {Scene} s @param {number} after @param {number} scale */
function nextMark(row, s, after, scale) {
  for (const { lane, i, j } of row.parts(after, s.to)) {
    for (let k = i; k < j; k++) if (lane.kind[k] >> 2 !== 3) return (lane.time[k] - s.from) * scale - 5;
  }
  return s.width;
}

/** As much of a text as there is room for. @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} room */
function fit(ctx, text, room) {
  if (room < 24) return "";
  if (ctx.measureText(text).width <= room) return text;
  for (let n = Math.min(text.length - 1, Math.floor(room / 4)); n > 2; n--) {
    const cut = text.slice(0, n) + "…";
    if (ctx.measureText(cut).width <= room) return cut;
  }
  return "";
}

/**
 * Draws all marks of one kind.
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} cls
 * @param {number} outcome
 * @param {Float32Array} at x and y of each
 * @param {number} n numbers in it
 * @param {Colours} colour
 */
export function shape(ctx, cls, outcome, at, n, colour) {
  ctx.fillStyle = ctx.strokeStyle = colour[classes[cls]];
  if (outcome === 0 && (cls === 1 || cls === 3 || cls === 5)) {
    const [w, h] = cls === 1 ? [2.5, 14] : [2.5, 5];
    for (let i = 0; i < n; i += 2) ctx.fillRect(at[i] - w / 2, at[i + 1] - h / 2, w, h);
    return;
  }
  ctx.beginPath();
  for (let i = 0; i < n; i += 2) {
    const [x, y] = [at[i], at[i + 1]];
    if (outcome === 1) {
      cross(ctx, x, y, 3.6);
    } else if (outcome === 2) {
      ctx.moveTo(x + 3.4, y);
      ctx.arc(x, y, 3.4, 0, 2 * Math.PI);
    } else if (outcome === 3) {
      polygon(ctx, [x - 4.6, y - 3.8, x + 4.6, y - 3.8, x, y + 4.4]);
    } else if (cls === 0) {
      ctx.moveTo(x + 5, y);
      ctx.arc(x, y, 5, 0, 2 * Math.PI);
    } else if (cls === 2) {
      ctx.rect(x - 4.5, y - 4.5, 9, 9);
    } else {
      polygon(ctx, [x, y - 4, x + 4, y, x, y + 4, x - 4, y]);
    }
  }
  if (outcome !== 1 && outcome !== 2) {
    ctx.fill();
    return;
  }
  // A rim in the ground's colour keeps open shapes apart from the bar below them.
  ctx.lineCap = "round";
  ctx.lineWidth = 4;
  ctx.strokeStyle = colour.surface;
  ctx.stroke();
  ctx.lineWidth = 1.9;
  ctx.strokeStyle = colour[classes[cls]];
  ctx.stroke();
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} r */
function cross(ctx, x, y, r) {
  ctx.moveTo(x - r, y - r);
  ctx.lineTo(x + r, y + r);
  ctx.moveTo(x + r, y - r);
  ctx.lineTo(x - r, y + r);
}

/** @param {CanvasRenderingContext2D} ctx @param {number[]} p */
function polygon(ctx, p) {
  ctx.moveTo(p[0], p[1]);
  for (let i = 2; i < p.length; i += 2) ctx.lineTo(p[i], p[i + 1]);
  ctx.closePath();
}
