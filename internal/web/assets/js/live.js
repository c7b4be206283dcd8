// New events as they come. The server sends rows, from the event on that was the
// newest when the table was asked for; the browser connects again by itself and
// says which event was the last, so none is missed.

import { byId, fragment } from "./dom.js";

const button = byId("live");
const most = 500; // rows in the table; older ones are a search away

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
 * @param {URLSearchParams} p
 * @param {string | null} cel null if the filter is wrong
 * @param {string} last the ID of the newest event that the table may have
 */
export function set(p, cel, last) {
  const on = p.has("live");
  button.setAttribute("aria-pressed", String(on));
  if (!on || cel === null) {
    stop();
    button.classList.remove("lost", "ready");
    return;
  }
  const ask = new URLSearchParams(p);
  for (const name of ["live", "event", "cursor"]) ask.delete(name);
  if (last) ask.set("after", last);
  if (stream && stream.readyState !== EventSource.CLOSED && asked === String(ask)) return;
  stop();
  asked = String(ask);
  const s = new EventSource("/page/follow?" + ask);
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
  s.addEventListener("row", (e) => add(/** @type {MessageEvent<string>} */ (e).data));
}

/** @param {string} html one row, made by the server's template */
function add(html) {
  const row = fragment(html).querySelector("tr");
  const body = document.getElementById("rows");
  if (!row) return;
  if (!body) {
    // The first event of an empty answer: the page is drawn anew, with a table.
    byId("search").dispatchEvent(new Event("submit", { cancelable: true }));
    return;
  }
  if (body.querySelector(`tr[data-id="${CSS.escape(row.dataset.id ?? "")}"]`)) return;
  row.classList.add("new");
  body.prepend(row);
  const rows = body.querySelectorAll("tr.event");
  if (rows.length > most) {
    document.querySelector("#results .more")?.remove(); // its place is no longer the next one
    rows[rows.length - 1].remove();
  }
}
