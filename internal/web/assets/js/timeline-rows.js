// The rows in sight as elements: options of a list box whose names say what the
// canvas shows. They are used again from row to row.

import { element } from "./dom.js";
import { place, title } from "./objects-key.js";
import { lostWords, words } from "./timeline-data.js";
import { rowHeight } from "./timeline-draw.js";
import { isLocal, text } from "./time.js";

/** @typedef {import("./timeline-data.js").Row} Row */
/** @typedef {import("./timeline.js").Timeline} Timeline */

/** @type {WeakMap<Row, {key: string, text: string}>} */
const summaries = new WeakMap();

export class Options {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
    /** @type {HTMLElement[]} */
    this.elements = [];
  }

  /** @param {Timeline} tl @param {number} first row @param {number} last one behind the last */
  show(tl, first, last) {
    while (this.elements.length < last - first) {
      const el = element("div", "tl-row", "");
      el.setAttribute("role", "option");
      el.append(element("span", "tl-kind", ""), element("bdi", "tl-name", ""), element("bdi", "tl-place", ""), element("span", "sr", ""));
      this.elements.push(el);
      this.list.append(el);
    }
    let activeId = "";
    for (let n = 0; n < this.elements.length; n++) {
      const el = this.elements[n];
      // A row keeps its element while it is in sight, wherever the window begins.
      const i = first + ((n - (first % this.elements.length) + this.elements.length) % this.elements.length);
      el.hidden = i >= last;
      if (el.hidden) continue;
      const row = tl.rows[i];
      const other = el.dataset.row !== row.id || el.dataset.at !== String(i);
      if (other) {
        el.dataset.row = row.id;
        el.dataset.at = String(i);
        el.id = "tl-row-" + i;
        el.style.top = i * rowHeight + "px";
        const full = title(row.key);
        const cut = full.indexOf("/");
        el.children[0].textContent = full.slice(0, cut + 1);
        el.children[1].textContent = full.slice(cut + 1);
        el.children[2].textContent = row.key.namespace ? place({ ...row.key, cluster: "" }) : "";
        el.setAttribute("aria-posinset", String(i + 1));
      }
      el.setAttribute("aria-setsize", String(tl.rows.length));
      const said = summary(row, tl.known);
      if (other || el.children[3].textContent !== said) {
        el.children[3].textContent = said;
        el.title = `${title(row.key)}, ${place(row.key)}: ${said}`;
      }
      el.setAttribute("aria-selected", String(row.id === tl.selected));
      el.classList.toggle("active", i === tl.active);
      if (i === tl.active) activeId = el.id;
    }
    if (activeId) this.list.setAttribute("aria-activedescendant", activeId);
    else this.list.removeAttribute("aria-activedescendant");
  }
}

/** What a row's marks in a range say. @param {Row} row @param {[number, number]} range */
function summary(row, range) {
  const key = `${isLocal()} ${range[0]} ${range[1]} ${row.fine?.n ?? 0} ${row.base?.n ?? 0} ${row.removals?.n ?? 0}`;
  const kept = summaries.get(row);
  if (kept?.key === key) return kept.text;
  const sums = new Map();
  let end = 0;
  for (const { lane, i, j } of row.parts(range[0], range[1])) {
    for (let k = i; k < j; k++) {
      sums.set(lane.kind[k], (sums.get(lane.kind[k]) ?? 0) + lane.count[k]);
      end = lane.time[k];
    }
  }
  const list = [...sums].sort((a, b) => a[0] - b[0]).map(([kind, count]) => words(kind, count));
  const lost = row.spans().flatMap((s) => (s.lost && s.lost.time >= range[0] && s.lost.time < range[1] ? [`; ${lostWords(s)} ${text(s.lost.time, "second")}`] : []));
  const out = (list.length ? list.join(", ") + "; last " + text(end, "second") : "nothing in this range") + lost.join("");
  summaries.set(row, { key, text: out });
  return out;
}
