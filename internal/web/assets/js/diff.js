// Two revisions of an object, side by side or in one column.

import { element } from "./dom.js";
import { blocks, diffLines, within } from "./diff-lines.js";
import { toLines } from "./diff-yaml.js";
import { visible } from "./objects-key.js";

/** @typedef {import("./diff-yaml.js").Line} Line */
/** @typedef {import("./diff-lines.js").Step} Step */

/**
 * @typedef {object} Shown
 * @property {unknown} before null if the object was not there
 * @property {unknown} after
 * @property {boolean} inline
 * @property {boolean} noise
 */

/**
 * @typedef {object} On
 * @property {(inline: boolean) => void} form
 * @property {(noise: boolean) => void} noise
 */

// More rows than this are shown on demand.
const most = 3000;

export class DiffView {
  /** @param {HTMLElement} root @param {On} on */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    /** @type {HTMLElement[]} */
    this.changes = [];
    this.at = -1;
    /** Shows more lines, if there are any. @type {(() => void) | null} */
    this.rest = null;
  }

  /** @param {Shown} s */
  show(s) {
    const a = toLines(s.before, s.noise);
    const b = toLines(s.after, s.noise);
    const steps = diffLines(a.lines.map((l) => l.text), b.lines.map((l) => l.text));
    this.changes = [];
    this.at = -1;
    const [added, removed] = ["added", "removed"].map((k) => steps.filter((x) => x.kind === k).length);
    const folded = new Set([...a.folded, ...b.folded]);
    this.where = element("span", "quiet", "");
    this.where.setAttribute("aria-live", "polite");
    const body = this.table(steps, a.lines, b.lines, s.inline);
    this.root.replaceChildren(this.bar(s, added, removed, folded), body);
  }

  /** @param {Shown} s @param {number} added @param {number} removed @param {Set<string>} folded */
  bar(s, added, removed, folded) {
    const bar = element("div", "diff-bar", "");
    const sum = element("p", "diff-sum", "");
    if (added || removed) {
      sum.append(element("span", "plus", `+${added}`), " ", element("span", "minus", `−${removed}`), element("span", "sr", " lines added and removed"), " ");
    } else {
      sum.append(folded.size && !s.noise ? "No difference outside of what is folded" : "No difference");
    }
    sum.append(/** @type {HTMLElement} */ (this.where));
    bar.append(sum);
    const jump = (/** @type {string} */ sign, /** @type {string} */ label, /** @type {number} */ by) => {
      const button = action(sign, () => this.jump(by));
      button.setAttribute("aria-label", label);
      button.title = `${label} (${by > 0 ? "n" : "p"})`;
      button.toggleAttribute("disabled", this.changes.length === 0);
      return button;
    };
    bar.append(jump("↑", "Previous change", -1), jump("↓", "Next change", 1));
    if (folded.size || s.noise) {
      const button = action(s.noise ? "Fold noise" : `Show ${folded.size} folded`, () => this.on.noise(!s.noise));
      button.setAttribute("aria-pressed", String(s.noise));
      button.title = [...folded].map(visible).join("\n") || "managedFields, resourceVersion, generation";
      bar.append(button);
    }
    const forms = element("div", "seg", "");
    forms.setAttribute("role", "group");
    forms.setAttribute("aria-label", "Form of the difference");
    for (const [label, inline] of /** @type {[string, boolean][]} */ ([["Side by side", false], ["Inline", true]])) {
      const button = action(label, () => this.on.form(inline));
      button.setAttribute("aria-pressed", String(inline === s.inline));
      forms.append(button);
    }
    bar.append(forms);
    return bar;
  }

  /** @param {Step[]} steps @param {Line[]} a @param {Line[]} b @param {boolean} inline */
  table(steps, a, b, inline) {
    const scroll = element("div", "diff-scroll", "");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Difference");
    const table = element("table", inline ? "diff inline" : "diff side", "");
    table.append(element("caption", "sr", "Difference of two revisions, line by line"));
    const widths = document.createElement("colgroup");
    for (const name of inline ? ["no", "no", "sign", "text"] : ["no", "sign", "text", "no", "sign", "text"]) widths.append(element("col", "col-" + name, ""));
    const body = document.createElement("tbody");
    table.append(widths, body);
    scroll.append(table);
    const draw = { a, b, inline, columns: inline ? 4 : 6 };
    /** @type {HTMLElement[]} */
    const rows = [];
    for (const block of blocks(steps)) {
      if (block.kind === "fold") {
        rows.push(fold(block.steps, draw));
      } else if (block.kind === "same") {
        rows.push(...block.steps.map((s) => line(s, s, draw)));
      } else {
        const first = block.steps[0];
        const head = element("tr", "path", "");
        const at = (first.kind === "added" ? b[first.b] : a[first.a]).path;
        const cell = element("th", "", at === "apiVersion" ? "the whole object" : visible(at));
        cell.setAttribute("colspan", String(draw.columns));
        cell.setAttribute("scope", "rowgroup");
        head.append(cell);
        head.tabIndex = -1;
        this.changes.push(head);
        rows.push(head, ...change(block.steps, draw));
      }
    }
    const add = () => {
      this.rest = null;
      body.append(...rows.splice(0, most));
      if (!rows.length) return;
      const more = element("tr", "fold", "");
      const cell = element("td", "", "");
      cell.setAttribute("colspan", String(draw.columns));
      this.rest = () => {
        more.remove();
        add();
      };
      cell.append(action(`${rows.length.toLocaleString("en")} more lines`, this.rest));
      more.append(cell);
      body.append(more);
    };
    add();
    return scroll;
  }

  /** To the next or previous change. @param {number} by @returns {boolean} */
  jump(by) {
    let there = this.changes.filter((c) => c.isConnected);
    while (by > 0 && this.at === there.length - 1 && this.rest) {
      this.rest();
      there = this.changes.filter((c) => c.isConnected);
    }
    if (!there.length) return false;
    this.at = Math.max(0, Math.min(there.length - 1, this.at + (this.at < 0 && by < 0 ? 0 : by)));
    const row = there[this.at];
    row.scrollIntoView({ block: "nearest" });
    const box = row.closest(".diff-scroll");
    if (box) box.scrollTop += row.getBoundingClientRect().top - box.getBoundingClientRect().top - 40;
    for (const c of there) c.classList.toggle("here", c === row);
    if (this.where) this.where.textContent = `change ${this.at + 1} of ${this.changes.length}`;
    return true;
  }
}

/** @typedef {{a: Line[], b: Line[], inline: boolean, columns: number}} Draw */

/** @param {string} label @param {() => void} f */
export function action(label, f) {
  const button = element("button", "small", label);
  button.setAttribute("type", "button");
  button.addEventListener("click", f);
  return button;
}

/** Lines that are the same, one click away. @param {Step[]} steps @param {Draw} draw */
function fold(steps, draw) {
  const row = element("tr", "fold", "");
  const cell = element("td", "", "");
  cell.setAttribute("colspan", String(draw.columns));
  cell.append(action(`⋯ ${steps.length} unchanged lines`, () => row.replaceWith(...steps.map((s) => line(s, s, draw)))));
  row.append(cell);
  return row;
}

/** The lines of one change; those that took each other's place are compared. @param {Step[]} steps @param {Draw} draw */
function change(steps, draw) {
  const removed = steps.filter((s) => s.kind === "removed");
  const added = steps.filter((s) => s.kind === "added");
  const pairs = Array.from({ length: Math.max(removed.length, added.length) }, (_, i) => /** @type {[Step | null, Step | null]} */ ([removed[i] ?? null, added[i] ?? null]));
  if (!draw.inline) return pairs.map(([x, y]) => line(x, y, draw));
  return [...pairs.filter(([x]) => x).map(([x, y]) => line(x, null, draw, y)), ...pairs.filter(([, y]) => y).map(([x, y]) => line(null, y, draw, x))];
}

/**
 * A row: a line of the one, of the other, or of both.
 * @param {Step | null} left
 * @param {Step | null} right
 * @param {Draw} draw
 * @param {Step | null} [other] inline, the line that this one is compared with
 */
function line(left, right, draw, other = null) {
  const row = document.createElement("tr");
  const same = left !== null && left === right;
  const number = (/** @type {Step | null} */ s, /** @type {"a" | "b"} */ k) => element("td", "no", s ? String(s[k] + 1) : "");
  const a = left ? draw.a[left.a]?.text : undefined;
  const b = right ? draw.b[right.b]?.text : undefined;
  const otherText = other ? (left ? draw.b[other.b].text : draw.a[other.a].text) : undefined;
  const cuts = (/** @type {string | undefined} */ x, /** @type {string | undefined} */ y) => (x !== undefined && y !== undefined && !same ? within(x, y) : null);
  if (draw.inline) {
    const kind = same ? "" : left ? "removed" : "added";
    row.className = kind;
    const c = left ? cuts(a, otherText) : cuts(otherText, b);
    row.append(number(left, "a"), number(right, "b"), element("td", "sign", same ? "" : left ? "−" : "+"), text((left ? a : b) ?? "", c && [c[0], left ? c[1] : c[2]], ""));
    return row;
  }
  const c = cuts(a, b);
  row.append(number(left, "a"), element("td", "sign", same || !left ? "" : "−"), text(a ?? "", c && [c[0], c[1]], same ? "" : left ? "removed" : "none"));
  row.append(number(right, "b"), element("td", "sign", same || !right ? "" : "+"), text(b ?? "", c && [c[0], c[2]], same ? "" : right ? "added" : "none"));
  return row;
}

/** @param {string} s @param {number[] | null} cut what of it differs @param {string} kind */
function text(s, cut, kind) {
  const cell = element("td", "text " + kind, "");
  if (!cut || cut[0] >= cut[1] || (cut[0] === s.length - s.trimStart().length && cut[1] === s.length)) {
    cell.textContent = s;
    return cell;
  }
  cell.append(s.slice(0, cut[0]), element("mark", "", s.slice(cut[0], cut[1])), s.slice(cut[1]));
  return cell;
}
