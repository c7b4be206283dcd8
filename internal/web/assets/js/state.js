// The state of the page is its URL, under the names of the form's fields.

import { byId } from "./dom.js";

const texts = ["filter", "verb", "user", "namespace", "resource", "since", "until"];
const flags = ["failed", "writes"];

const form = /** @type {HTMLFormElement} */ (byId("search"));

/** @param {string} name @returns {HTMLInputElement} */
function field(name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
}

/** The URL's parameters now. @returns {URLSearchParams} */
export function current() {
  return new URLSearchParams(location.search);
}

/** The form as parameters, with what is open or live kept. @returns {URLSearchParams} */
export function fromForm() {
  const p = new URLSearchParams();
  for (const name of texts) if (field(name).value.trim()) p.set(name, field(name).value.trim());
  for (const name of flags) if (field(name).checked) p.set(name, "1");
  const now = current();
  for (const name of ["live", "event"]) if (now.has(name)) p.set(name, now.get(name) ?? "");
  return p;
}

/** Sets the form from parameters. @param {URLSearchParams} p */
export function toForm(p) {
  for (const name of texts) field(name).value = p.get(name) ?? "";
  for (const name of flags) field(name).checked = p.has(name);
  for (const a of document.querySelectorAll(".presets a")) {
    const since = a.getAttribute("data-since") ?? "";
    const on = !p.get("until") && (p.get("since") ?? "") === since;
    if (on) a.setAttribute("aria-current", "true");
    else a.removeAttribute("aria-current");
  }
}

/** The page's address with parameters. @param {URLSearchParams} p */
export function address(p) {
  const s = p.toString();
  return s ? "/?" + s : "/";
}

/**
 * Whether two states ask the same question: the open event and the live switch
 * are not part of it.
 * @param {URLSearchParams} a
 * @param {URLSearchParams} b
 */
export function sameQuestion(a, b) {
  return [...texts, ...flags].every((n) => (a.get(n) ?? "") === (b.get(n) ?? ""));
}

/**
 * A value as CEL reads it. Everything but plain ASCII is escaped.
 * @param {string} v
 */
export function quote(v) {
  let out = '"';
  for (const c of v) {
    const n = c.codePointAt(0) ?? 0;
    if (c === '"' || c === "\\") out += "\\" + c;
    else if (n >= 0x20 && n < 0x7f) out += c;
    else if (n > 0xffff) out += "\\U" + n.toString(16).padStart(8, "0");
    else out += "\\u" + n.toString(16).padStart(4, "0");
  }
  return out + '"';
}

const numbers = new Set(["id", "code", "latency_us"]);
const lists = new Set(["groups", "as_groups", "source_ips"]);
const times = new Set(["time", "received"]);

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
  if (times.has(column)) return `${column} ${op} timestamp(${quote(value)})`;
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
