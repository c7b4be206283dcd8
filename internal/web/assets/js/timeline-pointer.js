// What the pointer does to a timeline: the wheel with Ctrl and two fingers zoom
// where they are, one drags, and a range drawn on the ruler is zoomed to.

import { longest, shortest } from "./timeline-ruler.js";

/** @typedef {import("./timeline.js").Timeline} Timeline */

/** @param {Timeline} tl */
export function listenPointer(tl) {
  const { signal } = tl.end;
  /** @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let start = { x: 0, y: 0, from: 0, to: 0, wide: 0, moved: false, time: 0 };
  const x = (/** @type {MouseEvent} */ e) => e.clientX - tl.body.getBoundingClientRect().left - tl.label;

  tl.body.addEventListener(
    "wheel",
    (e) => {
      const across = e.shiftKey ? e.deltaY || e.deltaX : Math.abs(e.deltaX) > Math.abs(e.deltaY) ? e.deltaX : 0;
      if (e.ctrlKey || e.metaKey) tl.zoom(Math.exp(Math.max(-60, Math.min(60, e.deltaY)) * 0.006), x(e));
      else if (across) tl.pan(across / tl.width);
      else return;
      e.preventDefault();
    },
    { signal, passive: false },
  );
  tl.body.addEventListener(
    "pointerdown",
    (e) => {
      if (e.button !== 0) return;
      down.set(e.pointerId, { x: e.clientX, y: e.clientY });
      const [a, b] = [...down.values()];
      start = { x: e.clientX, y: e.clientY, from: tl.from, to: tl.to, wide: b ? Math.abs(a.x - b.x) : 0, moved: false, time: tl.timeAt(b ? (a.x + b.x) / 2 - tl.body.getBoundingClientRect().left - tl.label : x(e)) };
    },
    { signal },
  );
  const up = (/** @type {PointerEvent} */ e) => {
    if (!down.delete(e.pointerId)) return;
    const only = [...down.values()][0];
    if (only) start = { ...start, x: only.x, y: only.y, from: tl.from, to: tl.to, wide: 0 };
    else {
      tl.dragging = false;
      tl.body.classList.remove("dragging");
      if (start.moved) tl.settle();
      else if (e.type === "pointerup") tl.click(e);
    }
  };
  tl.body.addEventListener(
    "pointermove",
    (e) => {
      // A button that was let go where nobody was told is up too.
      if (e.buttons === 0) up(e);
      const p = down.get(e.pointerId);
      if (!p) {
        tl.hover(e);
        return;
      }
      p.x = e.clientX;
      p.y = e.clientY;
      if (!start.moved && down.size < 2 && Math.abs(e.clientX - start.x) < 4) return;
      if (!start.moved) {
        start.moved = tl.dragging = true;
        tl.body.setPointerCapture(e.pointerId);
        tl.hideTip();
        tl.body.classList.add("dragging");
      }
      if (down.size === 2 && start.wide > 10) {
        const [a, b] = [...down.values()];
        const span = Math.min(longest, Math.max(shortest, ((start.to - start.from) * start.wide) / Math.max(10, Math.abs(a.x - b.x))));
        const middle = ((a.x + b.x) / 2 - tl.body.getBoundingClientRect().left - tl.label) / tl.width;
        tl.move(start.time - span * middle, span);
      } else if (down.size === 1) {
        tl.move(start.from - ((e.clientX - start.x) / tl.width) * (start.to - start.from), start.to - start.from);
      }
    },
    { signal },
  );
  tl.body.addEventListener("pointerup", up, { signal });
  tl.body.addEventListener("pointercancel", up, { signal });
  tl.body.addEventListener("pointerleave", () => tl.hideTip(), { signal });
  tl.body.addEventListener("dblclick", (e) => x(e) > 0 && tl.zoom(0.4, x(e)), { signal });
}

/** A range drawn on the ruler is zoomed to. @param {Timeline} tl */
export function listenRuler(tl) {
  const { signal } = tl.end;
  let begin = -1;
  const at = (/** @type {PointerEvent} */ e) => Math.max(0, Math.min(tl.width, e.clientX - tl.ruler.getBoundingClientRect().left));
  tl.ruler.addEventListener("pointerdown", (e) => {
    begin = at(e);
    tl.ruler.setPointerCapture(e.pointerId);
  }, { signal });
  tl.ruler.addEventListener("pointermove", (e) => {
    if (begin < 0) return;
    const [a, b] = [Math.min(begin, at(e)), Math.max(begin, at(e))];
    tl.brush.hidden = b - a < 4;
    tl.brush.style.left = tl.label + a + "px";
    tl.brush.style.width = b - a + "px";
  }, { signal });
  tl.ruler.addEventListener("pointerup", (e) => {
    const [a, b] = [Math.min(begin, at(e)), Math.max(begin, at(e))];
    begin = -1;
    tl.brush.hidden = true;
    if (b - a < 4) return;
    const [from, to] = [tl.timeAt(a), tl.timeAt(b)];
    tl.move(from, Math.max(shortest, to - from));
  }, { signal });
  tl.ruler.addEventListener("pointercancel", () => {
    begin = -1;
    tl.brush.hidden = true;
  }, { signal });
}
