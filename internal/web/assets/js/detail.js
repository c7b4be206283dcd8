// The open event.

import { ask } from "./api.js";
import { byId, element, load, toast } from "./dom.js";
import { enliven } from "./json.js";
import { address } from "./state.js";
import { failure } from "./states.js";

const panel = byId("detail");

/** @type {AbortController | null} */
let asking = null;

/**
 * Shows the event that the URL names, or none.
 * @param {URLSearchParams} p
 * @param {boolean} there the server has rendered it
 */
export async function show(p, there) {
  asking?.abort();
  const id = p.get("event");
  document.body.classList.toggle("has-event", Boolean(id));
  if (!id) {
    panel.hidden = true;
    panel.replaceChildren();
    panel.removeAttribute("aria-busy");
    for (const name of ["json-found", "json-now"]) globalThis.CSS.highlights?.delete(name);
    return;
  }
  const mine = new AbortController();
  asking = mine;
  panel.hidden = false;
  if (!there) {
    panel.setAttribute("aria-busy", "true");
    const rest = new URLSearchParams(p);
    rest.delete("event");
    /** @type {Node[]} */
    let content;
    try {
      content = [await load(`/page/event/${encodeURIComponent(id)}?${rest}`, mine.signal)];
    } catch (err) {
      if (mine.signal.aborted) return;
      content = [head(rest), failure(err, () => show(p, false))];
    }
    const inside = panel.contains(document.activeElement);
    panel.replaceChildren(...content);
    panel.scrollTop = 0;
    if (inside) panel.focus({ preventScroll: true });
    panel.removeAttribute("aria-busy");
  }
  enliven(panel);
  await showAround(mine.signal);
}

/** The way out of an event that did not come. @param {URLSearchParams} without the event */
function head(without) {
  const a = /** @type {HTMLAnchorElement} */ (element("a", "close", "✕"));
  a.href = address(location.pathname, without);
  a.setAttribute("aria-label", "Close the event");
  const el = element("div", "detail-head", "");
  el.append(element("span", "", ""), a);
  return el;
}

/** The stages of the request and the neighbours in time. @param {AbortSignal} signal */
async function showAround(signal) {
  const place = panel.querySelector("#around");
  const url = place?.getAttribute("data-url");
  if (!place || !url) return;
  place.setAttribute("aria-busy", "true");
  try {
    const html = await load(url, signal);
    place.replaceChildren(html);
  } catch (err) {
    if (signal.aborted) return;
    place.replaceChildren(failure(err, () => showAround(signal)));
  }
  place.removeAttribute("aria-busy");
}

/** Ends what is asked. */
export function stop() {
  asking?.abort();
}

/** @param {string} text @param {string} what */
async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(what[0].toUpperCase() + what.slice(1) + " copied");
  } catch {
    toast("The browser did not allow copying");
  }
}

let listening = false;

/** @param {{open: (id: string) => void, addCondition: (column: string, value: string, not: boolean) => void}} on */
export function listen(on) {
  if (listening) return;
  listening = true;
  panel.addEventListener("click", async (e) => {
    if (!(e.target instanceof Element)) return;
    // These links were made when the event was opened; the question may be another one since.
    const link = e.target.closest("a.close, .near a");
    if (link instanceof HTMLAnchorElement && !e.metaKey && !e.ctrlKey && !e.shiftKey) {
      e.preventDefault();
      on.open(new URL(link.href).searchParams.get("event") ?? "");
      return;
    }
    const part = e.target.closest(".part");
    if (part) {
      on.addCondition(part.getAttribute("data-c") ?? "", part.getAttribute("data-v") ?? "", false);
      return;
    }
    const button = e.target.closest("[data-copy]");
    if (!button) return;
    const what = button.getAttribute("data-copy") ?? "";
    const text = button.getAttribute("data-text") ?? "";
    if (what === "link") copy(new URL(text, location.href).href, what);
    else if (what !== "json") copy(text, what);
    else {
      try {
        const id = panel.querySelector(".sentence")?.getAttribute("data-id") ?? "";
        copy((await ask("events/" + encodeURIComponent(id))).event.raw ?? "", "JSON");
      } catch {
        toast("The event did not come");
      }
    }
  });
}

/** To the search in the open event. @returns {boolean} whether one is open */
export function find() {
  const box = panel.querySelector("input[type=search]");
  if (panel.hidden || !(box instanceof HTMLElement)) return false;
  box.focus();
  return true;
}
