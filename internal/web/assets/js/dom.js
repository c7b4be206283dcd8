// What every module of the page needs from the document.
//
// HTML comes from the server's templates only, which escape it. This file has
// the one place that puts HTML into the page, with its times in the reader's zone.

import { localize } from "./time.js";

/**
 * Finds the element with an ID that the page always has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const el = document.getElementById(id);
  if (!el) throw new Error(`the page has no element ${id}`);
  return el;
}

/** @type {{createHTML: (s: string) => any}} */
const policy = globalThis.trustedTypes
  ? globalThis.trustedTypes.createPolicy("ktrail", { createHTML: (s) => s })
  : { createHTML: (s) => s };

/**
 * Parses HTML that this server's templates made.
 * @param {string} html
 * @returns {DocumentFragment}
 */
export function fragment(html) {
  const t = document.createElement("template");
  t.innerHTML = policy.createHTML(html);
  localize(t.content);
  return t.content;
}

/**
 * Asks the server for HTML of its own. A status of its own is no error: the
 * HTML says what is wrong.
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<DocumentFragment>}
 */
export async function load(url, signal) {
  const resp = await fetch(url, { signal, headers: { Accept: "text/html" } });
  if (!(resp.headers.get("Content-Type") ?? "").startsWith("text/html")) {
    throw new Error(`the server answered ${resp.status}`);
  }
  return fragment(await resp.text());
}

/**
 * Makes an element with text in it.
 * @param {string} tag
 * @param {string} className
 * @param {string} text
 * @returns {HTMLElement}
 */
export function element(tag, className, text) {
  const el = document.createElement(tag);
  el.className = className;
  el.textContent = text;
  return el;
}

/** A short message at the bottom of the window. @param {string} text */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const el = element("p", "toast", text);
  el.setAttribute("role", "status");
  document.body.append(el);
  setTimeout(() => el.remove(), 2500);
}
