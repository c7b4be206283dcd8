// The open event.

import { byId, element, load, toast } from "./dom.js";
import { mark } from "./results.js";

const panel = byId("detail");

/** @type {AbortController | null} */
let asking = null;

/** Shows the event that the URL names, or none. @param {URLSearchParams} p */
export async function show(p) {
  asking?.abort();
  const id = p.get("event");
  mark(id);
  document.body.classList.toggle("has-event", Boolean(id));
  if (!id) {
    panel.hidden = true;
    panel.replaceChildren();
    return;
  }
  const ask = new AbortController();
  asking = ask;
  panel.hidden = false;
  panel.setAttribute("aria-busy", "true");
  const rest = new URLSearchParams(p);
  rest.delete("event");
  try {
    panel.replaceChildren(await load(`/page/event/${encodeURIComponent(id)}?${rest}`, ask.signal));
    panel.scrollTop = 0;
  } catch (err) {
    if (ask.signal.aborted) return;
    panel.replaceChildren(element("p", "empty", "The event did not come: " + /** @type {Error} */ (err).message));
  }
  panel.removeAttribute("aria-busy");
}

/** @param {string} text @param {string} what */
async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(what + " copied");
  } catch {
    toast("The browser did not allow copying");
  }
}

/** @param {{addCondition: (column: string, value: string, not: boolean) => void}} on */
export function listen(on) {
  panel.addEventListener("click", async (e) => {
    if (!(e.target instanceof Element)) return;
    const part = e.target.closest(".part");
    if (part) {
      on.addCondition(part.getAttribute("data-c") ?? "", part.getAttribute("data-v") ?? "", false);
      return;
    }
    const button = e.target.closest("[data-copy]");
    if (!button) return;
    if (button.getAttribute("data-copy") === "link") {
      copy(new URL(button.getAttribute("data-url") ?? "/", location.href).href, "Link");
      return;
    }
    const id = panel.querySelector(".sentence")?.getAttribute("data-id") ?? "";
    const resp = await fetch("/api/v1/events/" + encodeURIComponent(id));
    if (resp.ok) copy((await resp.json()).event.raw ?? "", "JSON");
    else toast("The event did not come");
  });
}
