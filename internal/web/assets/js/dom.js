// What every module of the page needs from the document.
//
// HTML comes from the server's templates only, which escape it. This file has
// the one place that puts HTML into the page, with its times in the reader's zone.

import { problemIn } from "./api.js";
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
 * Asks the server for HTML of its own, which says so in a header: a page that
 * something between here and there answers with is not put into this one. A
 * status is no error then, the HTML says what is wrong.
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<DocumentFragment>}
 */
export async function load(url, signal) {
  const resp = await fetch(url, { signal, headers: { Accept: "text/html" } });
  const text = await resp.text();
  if (!resp.headers.has("Ktrail-Html")) throw problemIn(resp, text);
  return fragment(text);
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

/**
 * Puts other nodes into an element and leaves the focus where it was: on what has
 * the same name now, or else on what stands in its place.
 * @param {Element} host
 * @param {...Node} nodes
 */
export function replace(host, ...nodes) {
  const had = document.activeElement;
  if (!had || had === host || !host.contains(had)) {
    host.replaceChildren(...nodes);
    return;
  }
  const stops = () => /** @type {HTMLElement[]} */ ([...host.querySelectorAll("a[href], button, input, summary, [tabindex]")]);
  const name = (/** @type {Element} */ el) => [el.tagName, el.closest("[data-id]")?.getAttribute("data-id"), el.getAttribute("aria-label") ?? el.textContent].join("\n");
  const was = name(had);
  const at = stops().findIndex((el) => el === had);
  host.replaceChildren(...nodes);
  const now = stops();
  (now.find((el) => name(el) === was) ?? now[Math.min(at, now.length - 1)])?.focus({ preventScroll: true });
}

/** A short message at the bottom of the window. @param {string} text */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const el = element("p", "toast", text);
  el.setAttribute("role", "status");
  document.body.append(el);
  setTimeout(() => el.remove(), 2500);
}
