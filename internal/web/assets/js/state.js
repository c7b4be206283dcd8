// The shared state of the views is the URL, under the names of the form's fields.

import { byId } from "./dom.js";
import { toField, toServer } from "./time.js";

const times = ["since", "until"];
const texts = ["filter", "verb", "user", "namespace", "resource", ...times];
const flags = ["failed", "writes"];
const facets = ["include", "exclude"]; // each any number of times

const form = /** @type {HTMLFormElement} */ (byId("search"));

/** @param {string} name @returns {HTMLInputElement} */
function field(name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
}

/** The URL's parameters now. @returns {URLSearchParams} */
export function current() {
  return new URLSearchParams(location.search);
}

/**
 * The URL's parameters with box and controls as they stand.
 * @returns {URLSearchParams}
 */
export function fromForm() {
  const p = current();
  for (const name of [...texts, ...flags]) p.delete(name);
  for (const name of texts) if (typed(field(name))) p.set(name, typed(field(name)));
  for (const name of flags) if (field(name).checked) p.set(name, "1");
  p.delete("cursor");
  return p;
}

/** @param {HTMLInputElement} input */
function typed(input) {
  const text = input.value.trim();
  if (!times.includes(input.name)) return text;
  // What nobody touched stays to the microsecond, which a field in local time does not show.
  return text === input.dataset.shown ? (input.dataset.kept ?? text) : toServer(text);
}

/** Sets the fields of times from parameters. @param {URLSearchParams} p */
export function timesToForm(p) {
  for (const name of times) {
    const input = field(name);
    const kept = p.get(name) ?? "";
    input.value = toField(kept);
    input.dataset.kept = kept;
    input.dataset.shown = input.value;
  }
}

/** Sets the form from parameters. @param {URLSearchParams} p */
export function toForm(p) {
  for (const name of texts) if (!times.includes(name)) field(name).value = p.get(name) ?? "";
  timesToForm(p);
  for (const name of flags) field(name).checked = p.has(name);
  for (const a of document.querySelectorAll(".presets a")) {
    const since = a.getAttribute("data-since") ?? "";
    const on = !p.get("until") && (p.get("since") ?? "") === since;
    if (on) a.setAttribute("aria-current", "true");
    else a.removeAttribute("aria-current");
  }
}

/** Marks the field that has what cannot be asked. @param {string} name "" if there is none */
export function markWrong(name) {
  for (const text of texts) {
    const input = field(text);
    if (text === name) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", "filter-error");
    } else {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
    }
  }
}

/** A path with parameters. @param {string} path @param {URLSearchParams} p */
export function address(path, p) {
  const s = p.toString();
  return s ? path + "?" + s : path;
}

/** What is left of a state in another view. @param {URLSearchParams} p */
export function shared(p) {
  const out = new URLSearchParams();
  for (const name of [...texts, ...flags, "live"]) if (p.get(name)) out.set(name, p.get(name) ?? "");
  for (const name of facets) for (const value of p.getAll(name)) out.append(name, value);
  return out;
}

/**
 * Whether two states ask the same question: the open event and the live switch
 * are not part of it.
 * @param {URLSearchParams} a
 * @param {URLSearchParams} b
 */
export function sameQuestion(a, b) {
  return (
    [...texts, ...flags].every((n) => (a.get(n) ?? "") === (b.get(n) ?? "")) &&
    facets.every((n) => JSON.stringify(a.getAll(n)) === JSON.stringify(b.getAll(n)))
  );
}

// What is shown as it is; the rest a reader would not see. The server's query.Quote has the same.
const shown = /^(?: |\p{VS}|(?!\p{DI})[\p{L}\p{M}\p{N}\p{P}\p{S}])$/u;

/**
 * A value as CEL reads it.
 * @param {string} v
 */
export function quote(v) {
  let out = '"';
  for (const c of v) {
    const n = c.codePointAt(0) ?? 0;
    if (c === '"' || c === "\\") out += "\\" + c;
    else if (c === "\n") out += "\\n";
    else if (c === "\t") out += "\\t";
    else if (shown.test(c)) out += c;
    else if (n > 0xffff) out += "\\U" + n.toString(16).padStart(8, "0");
    else out += "\\u" + n.toString(16).padStart(4, "0");
  }
  return out + '"';
}

const numbers = new Set(["id", "code", "latency_us"]);
const lists = new Set(["groups", "as_groups", "source_ips"]);
const flagged = new Set(["truncated", "final"]);
const moments = new Set(["time", "received"]);

/**
 * One column's value as CEL.
 * @param {string} column
 * @param {string} value
 * @param {boolean} not
 */
export function condition(column, value, not) {
  if (column === "resource" && value.includes("/")) {
    const [resource, sub] = value.split("/", 2);
    const both = `resource == ${quote(resource)} && subresource == ${quote(sub)}`;
    return not ? `!(${both})` : both;
  }
  if (lists.has(column)) return `${not ? "!" : ""}${column}.exists(x, x == ${quote(value)})`;
  const op = not ? "!=" : "==";
  if (numbers.has(column)) return `${column} ${op} ${/^-?\d+$/.test(value) ? value : 0}`;
  if (flagged.has(column)) return (value === "true") === not ? "!" + column : column;
  if (moments.has(column)) return `${column} ${op} timestamp(${quote(value)})`;
  return `${column} ${op} ${quote(value)}`;
}

/**
 * Adds a condition to a filter.
 * @param {string} filter
 * @param {string} more
 */
export function and(filter, more) {
  const f = filter.trim();
  if (!f) return more;
  // An "or" binds weaker than the "and" that is put behind it.
  return f.includes("||") || f.includes("?") ? `(${f}) && ${more}` : `${f} && ${more}`;
}
