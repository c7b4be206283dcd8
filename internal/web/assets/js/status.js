// The state of sources and store, kept fresh while somebody looks.

import { byId, load } from "./dom.js";

const every = 5000; // ms

let asking = false;
/** Called each time the server has answered. */
let answered = () => {};

async function refresh() {
  // A server that is slow is not asked once more before it has answered.
  if (document.hidden || asking) return;
  asking = true;
  try {
    const html = await load("/page/status");
    swap(html);
    answered();
  } catch {
    const pill = document.querySelector("#status .pill");
    pill?.classList.remove("ok", "warn");
    pill?.classList.add("bad");
    const text = pill?.querySelector(".pill-text");
    if (text) text.textContent = "not reachable";
    const heard = pill?.querySelector(".sr");
    if (heard) heard.textContent = ", trouble";
  } finally {
    asking = false;
  }
}

/** @param {DocumentFragment} html */
function swap(html) {
  const button = html.querySelector(".pill");
  const panel = html.querySelector("#status-panel");
  const alerts = html.querySelector("[data-part=alerts]");
  const oldButton = document.querySelector("#status .pill");
  if (button && oldButton) {
    oldButton.className = button.className;
    oldButton.replaceChildren(...button.childNodes);
  }
  // The panel itself stays, it may be open.
  if (panel) byId("status-panel").replaceChildren(...panel.childNodes);
  const old = byId("alerts");
  if (alerts && old.textContent !== alerts.textContent) old.replaceChildren(...alerts.childNodes);
}

/** @param {() => void} then called each time the server has answered */
export function watchStatus(then) {
  answered = then;
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
}
