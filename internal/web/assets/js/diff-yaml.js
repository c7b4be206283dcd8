// Objects as lines of YAML, in the order that kubectl prints them. Everything in
// them is hostile: a value that is no plain word stands in JSON's quotes, and what
// cannot be seen is written as its number.

import { visible } from "./objects-key.js";

/** @typedef {{text: string, path: string}} Line */

const first = ["apiVersion", "kind", "metadata", "spec", "data", "stringData", "rules", "roleRef", "subjects", "status"];

// What every write changes, and what says the same once more.
const noisy = new Set(["metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "status.observedGeneration", "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration"]);

const mostLines = 20000;
const deepest = 200; // levels; what is below is left out, and said to be

/**
 * @param {unknown} value
 * @param {boolean} noise keep what is noise
 * @returns {{lines: Line[], folded: string[]}} and the paths that were left out
 */
export function toLines(value, noise) {
  /** @type {Line[]} */
  const lines = [];
  /** @type {string[]} */
  const folded = [];
  const put = (/** @type {number} */ depth, /** @type {string} */ lead, /** @type {string} */ text, /** @type {string} */ path) => {
    if (lines.length < mostLines) lines.push({ text: "  ".repeat(depth) + lead + text, path });
    else if (lines.length === mostLines) lines.push({ text: "# the object is longer than can be shown", path });
  };
  /** @param {unknown} v @param {number} depth @param {string} lead what stands before: a key, or a dash @param {string} path */
  const walk = (v, depth, lead, path) => {
    if (depth > deepest && v !== null && typeof v === "object") return put(depth, lead, " # deeper than can be shown", path);
    if (Array.isArray(v)) {
      if (!v.length) return put(depth, lead, " []", path);
      put(depth, lead, "", path);
      v.forEach((item, i) => member(item, depth, `${path}[${memberName(item, i)}]`));
      return;
    }
    if (v !== null && typeof v === "object") {
      const keys = keysOf(/** @type {Record<string, unknown>} */ (v), depth === 0 && !lead);
      if (!keys.length) return put(depth, lead, lead ? " {}" : "{}", path);
      if (lead) put(depth, lead, "", path);
      const inner = lead ? depth + 1 : depth;
      for (const k of keys) field(/** @type {Record<string, unknown>} */ (v)[k], k, inner, "", path);
      return;
    }
    if (typeof v === "string" && lead && v.includes("\n") && lines.length < mostLines) {
      // A file in a ConfigMap is compared line by line.
      put(depth, lead, " |" + (v.endsWith("\n") ? "" : "-"), path);
      for (const line of v.replace(/\n$/, "").split("\n")) put(depth + 1, "", visible(line), path);
      return;
    }
    put(depth, lead, (lead ? " " : "") + scalar(v), path);
  };
  /** @param {unknown} v @param {string} k @param {number} depth @param {string} dash @param {string} path */
  const field = (v, k, depth, dash, path) => {
    const at = path ? `${path}.${k}` : k;
    if (!noise && noisy.has(at)) {
      folded.push(at);
      return;
    }
    walk(v, depth, dash + word(k) + ":", at);
  };
  /** An item of a list: its first field stands behind the dash. @param {unknown} item @param {number} depth @param {string} path */
  const member = (item, depth, path) => {
    if (depth > deepest && item !== null && typeof item === "object") return put(depth, "-", " # deeper than can be shown", path);
    if (item !== null && typeof item === "object" && !Array.isArray(item)) {
      const keys = keysOf(/** @type {Record<string, unknown>} */ (item), false);
      if (!keys.length) return put(depth, "-", " {}", path);
      const m = /** @type {Record<string, unknown>} */ (item);
      keys.forEach((k, i) => {
        const inner = /** @type {unknown} */ (m[k]);
        const nested = inner !== null && typeof inner === "object" && Object.keys(inner).length > 0;
        if (i === 0 && !nested) put(depth, "- ", `${word(k)}:${nested ? "" : " " + (inner !== null && typeof inner === "object" ? (Array.isArray(inner) ? "[]" : "{}") : scalar(inner))}`, `${path}.${k}`);
        else if (i === 0) {
          put(depth, "-", "", path);
          field(inner, k, depth + 1, "", path);
        } else field(inner, k, depth + 1, "", path);
      });
      return;
    }
    if (Array.isArray(item) && item.length) {
      put(depth, "-", "", path);
      item.forEach((inner, i) => member(inner, depth + 1, `${path}[${i}]`));
      return;
    }
    put(depth, "-", " " + (Array.isArray(item) ? "[]" : scalar(item)), path);
  };
  if (value !== null && value !== undefined) walk(value, 0, "", "");
  return { lines, folded };
}

/** How a member of a list is called: by its name, if it has one. @param {unknown} item @param {number} i */
function memberName(item, i) {
  if (item !== null && typeof item === "object") {
    const m = /** @type {Record<string, unknown>} */ (item);
    for (const k of ["name", "type", "mountPath", "containerPort", "ip"]) if (typeof m[k] === "string" || typeof m[k] === "number") return `${k}=${m[k]}`;
  }
  return String(i);
}

/** @param {Record<string, unknown>} o @param {boolean} top */
function keysOf(o, top) {
  const keys = Object.keys(o);
  // "name" first makes members of a list easy to tell apart.
  const rank = (/** @type {string} */ k) => (top ? (first.indexOf(k) + 1 || first.length + 1) : k === "name" ? 0 : 1);
  return keys.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0));
}

const plain = /^[A-Za-z0-9_./][A-Za-z0-9_./:+@ -]*$/;
const reserved = /^(?:true|false|null|yes|no|on|off|y|n|~|[-+.]?[0-9][0-9_.eE+-]*|0x[0-9a-fA-F]+|\d{4}-\d\d-\d\d.*)$/i;

/** @param {string} k */
function word(k) {
  return plain.test(k) && !reserved.test(k) && !k.endsWith(" ") && !k.includes(": ") && !k.endsWith(":") ? k : quoted(k);
}

/** @param {unknown} v */
function scalar(v) {
  if (typeof v === "bigint") return String(v);
  if (typeof v !== "string") return JSON.stringify(v) ?? "null";
  return word(v);
}

/** @param {string} s */
function quoted(s) {
  // JSON writes controls as \u….; the rest of what cannot be seen follows suit.
  return visible(JSON.stringify(s));
}
