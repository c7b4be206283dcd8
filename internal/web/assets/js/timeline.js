// Rows of marks on one ruler of time. The canvas lies over the rows that are in
// sight and a little more; rows outside of it do not exist, however many there
// are. Each row that exists is an option of a list box with what its marks say
// as its name, so that nothing is told by the canvas alone.
//
// Panning and zooming draw at once what is known; once they rest, onRange says
// where they ended, and the owner asks for that range.

import { element } from "./dom.js";
import { title } from "./objects-key.js";
import { classes, kindOf, lostWords, outcomes, words } from "./timeline-data.js";
import { hollow, paint, readColours, rowHeight, shape } from "./timeline-draw.js";
import { listenPointer, listenRuler } from "./timeline-pointer.js";
import { Options } from "./timeline-rows.js";
import { lengthText, longest, shortest, ticks } from "./timeline-ruler.js";
import { text } from "./time.js";

/** @typedef {import("./timeline-data.js").Row} Row */
/** @typedef {{row: Row, time: number, kind: number, count: number, id: number, lost?: string}} Hit lost: what the deletion of its collection means for the row */

/**
 * @typedef {object} On
 * @property {(from: number, to: number) => void} range came to rest at another range
 * @property {(row: Row, hit: Hit | null) => void} select a row was chosen, or a mark of it
 * @property {(hit: Hit) => Promise<string>} about who did it, in words
 * @property {() => void} more the last rows came into sight
 */

const overscan = 5 * rowHeight;
// What a question may ask for: times from 1970 on, in years of four digits.
const earliest = 0;
const latest = Date.UTC(9999, 11, 31);
const rest = 220; // ms without a gesture before the range is told

export class Timeline {
  /** @param {HTMLElement} root @param {On} on */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    /** @type {Row[]} */
    this.rows = [];
    this.from = 0;
    this.to = 1;
    /** @type {[number, number]} */
    this.known = [-Infinity, Infinity];
    this.told = false; // rows were set: before that it is not known that there are none
    this.endless = false; // there are more rows than are known
    this.selected = "";
    this.revealed = false; // the selected row was scrolled to
    this.active = -1;
    /** @type {{t: number, text: string}[]} */
    this.names = [];
    this.frames = 0; // painted so far
    this.marks = 0; // drawn in the last frame
    this.dirty = false;
    this.settling = 0;
    this.end = new AbortController();
    this.label = 0; // CSS pixels, as the rest
    this.width = 1; // of the canvas
    this.height = 0; // of what is in sight
    this.visible = 0; // rows that the canvas has room for
    this.dragging = false;
    /** @type {Hit | null} */
    this.stepped = null;
    this.tipped = "";
    this.corner = element("div", "tl-corner", "");
    this.ruler = document.createElement("canvas");
    this.ruler.className = "tl-ruler";
    this.ruler.setAttribute("aria-hidden", "true");
    this.brush = element("div", "tl-brush", "");
    this.brush.hidden = true;
    const head = element("div", "tl-head", "");
    head.append(this.corner, this.ruler, this.brush);
    this.body = element("div", "tl-body", "");
    this.space = element("div", "tl-space", "");
    this.list = element("div", "tl-list", "");
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Objects over time");
    this.list.tabIndex = 0;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "tl-marks";
    this.canvas.setAttribute("aria-hidden", "true");
    this.line = element("div", "tl-line", "");
    this.line.hidden = true;
    this.space.append(this.canvas, this.list, this.line);
    this.body.append(this.space);
    this.tip = element("div", "tl-tip", "");
    this.tip.hidden = true;
    this.said = element("p", "sr", "");
    this.said.setAttribute("aria-live", "polite");
    this.root.append(head, this.body, this.tip, this.said);
    this.options = new Options(this.list);
    this.ctx = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
    this.rulerCtx = /** @type {CanvasRenderingContext2D} */ (this.ruler.getContext("2d"));
    this.colours = readColours(root);
    listenPointer(this);
    listenRuler(this);
    this.listen();
    this.measure();
  }

  destroy() {
    this.end.abort();
    this.sizes?.disconnect();
    clearTimeout(this.settling);
    this.root.replaceChildren();
  }

  /**
   * Other rows, or other marks in them. The row in whose place the reader looks stays there.
   * @param {Row[]} rows
   * @param {[number, number]} known the range that they tell of
   */
  setRows(rows, known) {
    const anchor = this.rows[this.active] ?? this.rows[Math.floor(this.body.scrollTop / rowHeight)];
    const was = anchor ? this.rows.indexOf(anchor) : -1;
    this.rows = rows;
    this.told = true;
    this.known = known;
    const now = anchor ? rows.findIndex((r) => r.id === anchor.id) : -1;
    this.active = this.active >= 0 ? now : -1;
    this.space.style.height = rows.length * rowHeight + "px";
    if (was >= 0 && now >= 0) this.body.scrollTop += (now - was) * rowHeight;
    this.draw();
  }

  /** @param {number} from @param {number} to */
  setRange(from, to) {
    clearTimeout(this.settling);
    this.settling = 0;
    [this.from, this.to] = [from, to > from ? to : from + shortest];
    this.draw();
  }

  /** Whether a gesture is under way whose end is not told yet. */
  get busy() {
    return this.settling !== 0 || this.dragging;
  }

  /** @param {string} id of a row, "" for none @param {{t: number, text: string}[]} [names] who made its revisions */
  select(id, names = []) {
    if (id !== this.selected) this.revealed = false;
    this.selected = id;
    this.names = names;
    const at = id ? this.rows.findIndex((r) => r.id === id) : -1;
    if (!this.revealed && at >= 0) {
      this.revealed = true;
      this.active = at;
      this.reveal(at);
    }
    this.draw();
  }

  /** Colours changed. */
  restyle() {
    this.colours = readColours(this.root);
    this.draw();
  }

  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      if (!this.end.signal.aborted) this.paint();
    });
  }

  measure() {
    this.label = this.corner.offsetWidth;
    this.width = Math.max(50, this.body.clientWidth - this.label);
    this.height = this.body.clientHeight;
    const dpr = Math.min(2, devicePixelRatio || 1);
    const rows = Math.ceil((this.height + 2 * overscan) / rowHeight) + 1;
    for (const [canvas, w, h] of /** @type {[HTMLCanvasElement, number, number][]} */ ([[this.canvas, this.width, rows * rowHeight], [this.ruler, this.width, 28]])) {
      canvas.width = Math.round(w * dpr);
      canvas.height = Math.round(h * dpr);
      canvas.style.width = w + "px";
      canvas.style.height = h + "px";
      canvas.style.left = this.label + "px";
    }
    this.ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
    this.rulerCtx.setTransform(dpr, 0, 0, dpr, 0, 0);
    this.visible = rows;
    this.draw();
  }

  paint() {
    const first = Math.max(0, Math.floor((this.body.scrollTop - overscan) / rowHeight));
    const last = Math.min(this.rows.length, first + this.visible);
    const grid = this.told || this.from ? ticks(this.from, this.to, Math.max(2, this.width / 92)) : [];
    this.canvas.style.top = first * rowHeight + "px";
    this.marks = paint(this.ctx, { rows: this.rows, first, last, width: this.width, from: this.from, to: this.to, grid: grid.map((g) => g.t), selected: this.selected, names: this.names, active: this.active, known: this.known }, this.colours);
    this.paintRuler(grid);
    this.options.show(this, first, last);
    this.frames++;
    if (last === this.rows.length && last > 0) this.on.more();
  }

  /** @param {{t: number, label: string, strong: boolean}[]} grid */
  paintRuler(grid) {
    const { rulerCtx: ctx, colours: c } = this;
    const scale = this.width / (this.to - this.from);
    ctx.clearRect(0, 0, this.width, 28);
    ctx.textBaseline = "middle";
    let free = -Infinity;
    for (const g of grid) {
      const x = Math.round((g.t - this.from) * scale);
      ctx.fillStyle = c.muted;
      ctx.fillRect(x, 22, 1, 6);
      ctx.font = `${g.strong ? "600 " : ""}11px ${c.font}`;
      const w = ctx.measureText(g.label).width;
      const left = Math.min(x + 4, this.width - w - 2);
      if (left < free) continue;
      ctx.fillStyle = g.strong ? c.text : c.muted;
      ctx.fillText(g.label, left, 13);
      free = left + w + 8;
    }
    this.corner.textContent = !this.told ? "" : `${this.rows.length.toLocaleString("en")}${this.endless ? "+" : ""} ${this.rows.length === 1 ? "object" : "objects"} · ${lengthText(this.to - this.from)}`;
  }

  listen() {
    const { signal } = this.end;
    this.body.addEventListener("scroll", () => this.draw(), { signal, passive: true });
    this.list.addEventListener(
      "focus",
      () => {
        if (this.active < 0 && this.rows.length) this.active = Math.floor(this.body.scrollTop / rowHeight);
        this.draw();
      },
      { signal },
    );
    this.list.addEventListener(
      "keydown",
      (e) => {
        if (!this.key(e)) return;
        e.preventDefault();
        e.stopPropagation();
      },
      { signal },
    );
    this.sizes = new ResizeObserver(() => {
      if (this.body.clientHeight !== this.height || this.corner.offsetWidth !== this.label || this.body.clientWidth - this.label !== this.width) this.measure();
    });
    this.sizes.observe(this.body);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle(), { signal });
    const sharp = () => {
      const now = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
      now.addEventListener("change", () => (this.measure(), sharp()), { signal, once: true }); // on another screen
    };
    sharp();
  }

  /** @param {number} x pixels from the canvas's left */
  timeAt(x) {
    return this.from + (x / this.width) * (this.to - this.from);
  }

  /** @param {number} from @param {number} span */
  move(from, span) {
    this.from = Math.max(earliest, Math.min(latest - span, from));
    this.to = this.from + span;
    this.draw();
    this.settle();
  }

  /** @param {number} by how much of the width */
  pan(by) {
    const span = this.to - this.from;
    this.move(this.from + by * span, span);
  }

  /** @param {number} factor of the range's length @param {number} [x] what stays where it is */
  zoom(factor, x = this.width / 2) {
    const span = Math.min(longest, Math.max(shortest, (this.to - this.from) * factor));
    this.move(this.timeAt(x) - (x / this.width) * span, span);
  }

  settle() {
    clearTimeout(this.settling);
    this.settling = 0;
    if (this.dragging) return;
    this.settling = setTimeout(() => {
      this.settling = 0;
      this.on.range(this.from, this.to);
    }, rest);
  }

  /** @param {MouseEvent} e */
  rowAt(e) {
    const i = Math.floor((e.clientY - this.space.getBoundingClientRect().top) / rowHeight);
    return i >= 0 && i < this.rows.length ? i : -1;
  }

  /** The mark nearest to a place; a write wins over a read. @param {MouseEvent} e @returns {Hit | null} */
  hitAt(e) {
    const i = this.rowAt(e);
    const x = e.clientX - this.body.getBoundingClientRect().left - this.label;
    if (i < 0 || x < 0) return null;
    const row = this.rows[i];
    const scale = this.width / (this.to - this.from);
    /** @type {Hit | null} */
    let best = null;
    let least = Infinity;
    for (const { lane, i: a, j: b } of row.parts(this.timeAt(x - 7), this.timeAt(x + 7))) {
      for (let k = a; k < b; k++) {
        const d = Math.abs((lane.time[k] - this.from) * scale - x) + (lane.kind[k] >> 2 > 2 ? 3 : 0) - (lane.kind[k] >> 2 === 2 ? 1 : 0);
        if (d < least) {
          least = d;
          best = { row, time: lane.time[k], kind: lane.kind[k], count: lane.count[k], id: lane.id[k] };
        }
      }
    }
    for (const hit of lostHits(row)) {
      const d = Math.abs((hit.time - this.from) * scale - x);
      if (d <= 7 && d < least) [least, best] = [d, hit];
    }
    return best;
  }

  /** @param {PointerEvent} e */
  click(e) {
    const i = this.rowAt(e);
    if (i < 0) return;
    this.active = i;
    this.list.focus({ preventScroll: true });
    this.on.select(this.rows[i], this.hitAt(e));
    this.draw();
  }

  /** @param {PointerEvent} e */
  hover(e) {
    const box = this.body.getBoundingClientRect();
    const x = e.clientX - box.left - this.label;
    this.line.hidden = x < 0;
    this.line.style.left = this.label + x + "px";
    const hit = this.hitAt(e);
    if (!hit) {
      this.hideTip(x < 0);
      return;
    }
    this.body.classList.add("pointing");
    const of = `${hit.id} ${hit.row.id}`; // one request may be in many rows
    if (this.tipped === of) return;
    this.tipped = of;
    const when = text(hit.time, "full");
    this.tip.replaceChildren(element("b", "", hit.lost ?? words(hit.kind, hit.count)), element("span", "", when), element("bdi", "quiet", title(hit.row.key)));
    const who = element("bdi", "", "");
    this.tip.append(who);
    this.tip.hidden = false;
    const inner = this.root.getBoundingClientRect();
    this.tip.style.left = Math.max(4, Math.min(inner.width - 288, e.clientX - inner.left + 12)) + "px";
    const below = e.clientY - inner.top + 18;
    this.tip.style.top = (below + 96 > inner.height ? below - 124 : below) + "px";
    setTimeout(async () => {
      if (this.tipped !== of) return;
      const name = await this.on.about(hit);
      if (this.tipped === of) who.textContent = name;
    }, 120);
  }

  hideTip(line = true) {
    this.tipped = "";
    this.tip.hidden = true;
    if (line) this.line.hidden = true;
    this.body.classList.remove("pointing");
  }

  // What the keyboard does.

  /** @param {KeyboardEvent} e @returns {boolean} whether it was taken */
  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return false;
    const page = Math.max(1, Math.floor(this.height / rowHeight) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[e.key];
    if (by !== undefined) {
      this.active = Math.max(0, Math.min(this.rows.length - 1, this.active + by));
      this.reveal(this.active);
      this.draw();
      return true;
    }
    switch (e.key) {
      case "ArrowLeft":
      case "ArrowRight":
        this.pan((e.key === "ArrowLeft" ? -1 : 1) * (e.shiftKey ? 0.5 : 0.1));
        return true;
      case "+":
      case "=":
        this.zoom(0.6);
        return true;
      case "-":
        this.zoom(1 / 0.6);
        return true;
      case "[":
      case "]":
        this.step(e.key === "]" ? 1 : -1);
        return true;
      case "Enter":
      case " ":
        if (this.rows[this.active]) this.on.select(this.rows[this.active], this.stepped?.row.id === this.rows[this.active].id ? this.stepped : null);
        return true;
    }
    return false;
  }

  /** To the next or previous mark of the active row, which is told. @param {number} by */
  step(by) {
    const row = this.rows[this.active];
    if (!row) return;
    const hit = this.following(row, by);
    if (hit) {
      this.stepped = hit;
      if (hit.time < this.from || hit.time > this.to) this.move(hit.time - (this.to - this.from) / 2, this.to - this.from);
      this.line.hidden = false;
      this.line.style.left = this.label + ((hit.time - this.from) / (this.to - this.from)) * this.width + "px";
      this.said.textContent = `${text(hit.time, "second")}: ${hit.lost ?? words(hit.kind, hit.count)}`;
      this.on.about(hit).then((who) => {
        if (this.stepped === hit && who) this.said.textContent += " – " + who;
      });
      return;
    }
    this.said.textContent = by > 0 ? "no later mark" : "no earlier mark";
  }

  /** The mark after or before the one that was stepped to, or from the edge on. @param {Row} row @param {number} by @returns {Hit | null} */
  following(row, by) {
    const was = this.stepped;
    const now = was && was.row.id === row.id && was.time >= this.from && was.time <= this.to ? was : null;
    const from = now ? now.time : by > 0 ? this.from : this.to;
    /** @type {Hit[]} */
    const marks = [];
    for (const { lane, i, j } of row.parts(-Infinity, Infinity)) {
      for (let k = i; k < j; k++) marks.push({ row, time: lane.time[k], kind: lane.kind[k], count: lane.count[k], id: lane.id[k] });
    }
    const lost = lostHits(row);
    if (lost.length) marks.push(...lost), marks.sort((a, b) => a.time - b.time);
    if (by < 0) marks.reverse();
    // Of several at one time, those behind the one that was told come next.
    const told = now ? marks.findIndex((m) => m.time === now.time && m.kind === now.kind) : -1;
    return marks.slice(told + 1).find((m) => (told >= 0 ? true : by > 0 ? m.time >= from : m.time < from)) ?? null;
  }

  /** @param {number} i */
  reveal(i) {
    const top = i * rowHeight;
    if (top < this.body.scrollTop) this.body.scrollTop = top;
    else if (top + rowHeight > this.body.scrollTop + this.height) this.body.scrollTop = top + rowHeight - this.height;
  }
}

/** The deletions of its collection that an object may have ended with. @param {Row} row @returns {Hit[]} */
function lostHits(row) {
  return row.spans().flatMap((s) => (s.lost ? [{ row, time: s.lost.time, kind: kindOf("delete", "ok"), count: 1, id: s.lost.id, lost: lostWords(s) }] : []));
}

/** The colours and shapes, explained. @param {HTMLElement} root @param {Record<string, string>} colours */
export function legend(root, colours) {
  const list = element("ul", "tl-legend", "");
  const item = (/** @type {string} */ name, /** @type {(ctx: CanvasRenderingContext2D) => void} */ draw) => {
    const li = element("li", "", "");
    const canvas = document.createElement("canvas");
    const dpr = Math.min(2, devicePixelRatio || 1);
    canvas.width = canvas.height = 14 * dpr;
    canvas.setAttribute("aria-hidden", "true");
    const ctx = canvas.getContext("2d");
    if (ctx) {
      ctx.scale(dpr, dpr);
      draw(ctx);
    }
    li.append(canvas, name);
    list.append(li);
  };
  const middle = new Float32Array([7, 7]);
  classes.forEach((name, i) => item(name, (ctx) => shape(ctx, i, 0, middle, 2, colours)));
  item("maybe deleted", (ctx) => hollow(ctx, 7, 7, colours));
  const grey = Object.fromEntries([...Object.entries(colours), ...classes.map((c) => [c, colours.muted])]);
  outcomes.forEach((name, i) => i && item(name === "error" ? "server error" : name, (ctx) => shape(ctx, 1, i, middle, 2, grey)));
  root.replaceChildren(list);
}
