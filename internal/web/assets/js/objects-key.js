// Objects by name: in the URL, in the tree, as text.

/**
 * @typedef {object} Key an object, or with empty trailing parts a group of them
 * @property {string} cluster
 * @property {string} namespace "" if the object is in none
 * @property {string} api_group
 * @property {string} resource
 * @property {string} name "" for requests that name no object
 */

/** The levels of the tree: what a path of so many parts fixes. */
export const depths = { all: 0, cluster: 1, namespace: 2, kind: 3, object: 4 };

/** How many parts of a path each depth has. */
const parts = [0, 1, 2, 4, 5];

/**
 * A key as a parameter of the URL: cluster/namespace/group/resource/name, each
 * part percent-encoded. A group of objects has fewer parts.
 * @param {Key} k
 * @param {number} [depth]
 */
export function path(k, depth = depths.object) {
  return [k.cluster, k.namespace, k.api_group, k.resource, k.name].slice(0, parts[depth]).map(encodeURIComponent).join("/");
}

export const noKey = Object.freeze({ cluster: "", namespace: "", api_group: "", resource: "", name: "" });

/**
 * Reads a path; what is none gives null.
 * @param {string | null} text
 * @returns {{key: Key, depth: number} | null}
 */
export function parsePath(text) {
  if (text === null) return null;
  try {
    // The API's own form, a JSON list of the five, is taken too.
    const list = text.startsWith("[") ? JSON.parse(text).map(String) : text.split("/").map(decodeURIComponent);
    const depth = parts.indexOf(list.length);
    if (depth < 1) return null;
    list.forEach(encodeURIComponent); // half a character cannot be written again
    const [cluster, namespace = "", api_group = "", resource = "", name = ""] = list;
    return { key: { cluster, namespace, api_group, resource, name }, depth };
  } catch {
    return null; // not percent-encoded, or no JSON
  }
}

/** @param {Key} a @param {Key} b */
export function same(a, b) {
  return path(a) === path(b);
}

/** The kind as people write it: deployments.apps. @param {Key} k */
export function kind(k) {
  return k.resource + (k.api_group ? "." + k.api_group : "");
}

/** resource/name, or what stands for a name that is not there. @param {Key} k */
export function title(k) {
  return `${visible(k.resource || "no resource")}/${k.name ? visible(k.name) : "(no name)"}`;
}

/** Where the object is, in words. @param {Key} k */
export function place(k) {
  return [k.namespace && visible(k.namespace), k.cluster && visible(k.cluster)].filter(Boolean).join(" · ");
}

/**
 * Shows characters that would hide or move others as their numbers, as the
 * server's pages do. Newlines are such characters here.
 * @param {string} s
 */
export function visible(s) {
  return s.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, (c) => `⟨U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** @param {string} s @param {number} [most] */
export function short(s, most = 160) {
  return s.length > most ? visible(s.slice(0, most)) + "…" : visible(s);
}
