// New events as they come, for the view that takes them. The server sends them
// from the event on that was the newest when the question was asked, or that came
// last, so none is missed when a stream ends and begins again. There is none while
// nobody sees the page: a browser has few connections to a server for all its tabs.

import { byId } from "./dom.js";

/** @typedef {import("./view.js").State} State */
/** @typedef {import("./view.js").Live} Live */

const button = byId("live");
const word = byId("live-word");
const title = button.title;
const pause = 3000; // ms before a stream that ended begins again

/** @type {EventSource | null} */
let stream = null;
/** Opens the stream that the state asks for. @type {(() => void) | null} */
let open = null;
let asked = "";
let last = ""; // ID of the event that came last
let timer = 0;

export function stop() {
  close();
  open = null;
  asked = last = "";
}

function close() {
  clearTimeout(timer);
  stream?.close();
  stream = null;
  button.classList.remove("ready");
}

/** Says whether what comes is shown. @param {string} why it is not, "" if it is */
export function say(why) {
  button.classList.toggle("lost", why !== "");
  word.textContent = why ? "Live lost" : "Live";
  button.title = why ? `${why}. It is tried again.` : title;
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
    if (live || !state.live) say("");
    return;
  }
  if (asked === url) return;
  stop();
  asked = url;
  open = () => connect(url, live, state);
  if (!document.hidden) open();
}

/** @param {string} url @param {Live} live @param {State} state */
function connect(url, live, state) {
  close();
  const from = new URL(url, location.href);
  if (last) from.searchParams.set("after", last);
  const s = new EventSource(from);
  stream = s;
  /** @param {string} why */
  const lost = (why) => {
    button.classList.remove("ready");
    say(why);
    if (s.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
    clearTimeout(timer);
    timer = setTimeout(() => open?.(), pause);
  };
  s.onopen = () => {
    say("");
    button.classList.add("ready");
  };
  s.onerror = () => lost("The stream of new events was broken off");
  s.addEventListener("failure", (e) => {
    s.close();
    lost(JSON.parse(/** @type {MessageEvent<string>} */ (e).data).error.message);
  });
  s.addEventListener(live.event, (e) => {
    const m = /** @type {MessageEvent<string>} */ (e);
    last = m.lastEventId || last;
    live.take(m.data, state);
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else if (!stream) open?.();
});
