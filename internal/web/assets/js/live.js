// New events as they come, for the view that takes them. The server sends them
// from the event on that was the newest when the question was asked; the browser
// connects again by itself and says which event was the last, so none is missed.

import { byId } from "./dom.js";

/** @typedef {import("./view.js").State} State */
/** @typedef {import("./view.js").Live} Live */

const button = byId("live");

/** @type {EventSource | null} */
let stream = null;
let asked = "";

export function stop() {
  stream?.close();
  stream = null;
  asked = "";
}

/**
 * Streams if the URL says so.
 * @param {State} state
 * @param {Live | undefined} live of the view; without it the view looks after itself
 */
export function set(state, live) {
  button.setAttribute("aria-pressed", String(state.live));
  const url = state.live && state.cel !== null ? (live?.url(state) ?? null) : null;
  if (!live || url === null) {
    stop();
    button.classList.remove("lost", "ready");
    return;
  }
  if (stream && stream.readyState !== EventSource.CLOSED && asked === url) return;
  stop();
  asked = url;
  const s = new EventSource(url);
  stream = s;
  s.onopen = () => {
    button.classList.remove("lost");
    button.classList.add("ready");
  };
  s.onerror = () => button.classList.add("lost");
  s.addEventListener("failure", () => {
    s.close();
    button.classList.add("lost");
  });
  s.addEventListener(live.event, (e) => live.take(/** @type {MessageEvent<string>} */ (e).data, state));
}
