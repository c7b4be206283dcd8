// The page's modules wired together. Every change of state goes through go():
// it writes the URL, and show() draws what the URL says, so that back and
// forward are the same road.

import * as chart from "./chart.js";
import { byId } from "./dom.js";
import * as detail from "./detail.js";
import { listenKeys } from "./keys.js";
import * as live from "./live.js";
import * as results from "./results.js";
import { address, and, condition, current, fromForm, sameQuestion, toForm } from "./state.js";
import { watchStatus } from "./status.js";
import { offerValues } from "./values.js";

/** What is drawn now. @type {URLSearchParams} */
let drawn = current();
drawn.delete("cursor");

/**
 * Goes to another state.
 * @param {URLSearchParams} p
 * @param {{replace?: boolean, again?: boolean}} [how]
 */
function go(p, how = {}) {
  p.delete("cursor");
  const url = address(p);
  if (how.replace || url === address(current())) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  show(how.again ?? false);
}

/** Draws what the URL says. @param {boolean} again ask even if the question is the same */
async function show(again) {
  const p = current();
  const before = drawn;
  drawn = p;
  toForm(p);
  if (p.get("event") !== before.get("event")) detail.show(p);
  if (again || !sameQuestion(p, before)) {
    live.stop();
    await results.show(p);
    if (drawn !== p) return;
    chart.update(p, results.cel());
  }
  live.set(p, results.cel(), results.last());
}

/** @param {string} id "" closes */
function open(id) {
  const p = current();
  if (id) p.set("event", id);
  else p.delete("event");
  go(p);
}

/** @param {string} column @param {string} value @param {boolean} not */
function addCondition(column, value, not) {
  const p = fromForm();
  p.set("filter", and(p.get("filter") ?? "", condition(column, value, not)));
  go(p);
}

byId("search").addEventListener("submit", (e) => {
  e.preventDefault();
  go(fromForm(), { again: true });
});
byId("search").addEventListener("change", (e) => {
  // Boxes and values that were picked from a list are meant at once; a filter
  // that is being written is not.
  if (e.target instanceof HTMLInputElement && e.target.id !== "filter") go(fromForm());
});
for (const a of document.querySelectorAll(".presets a")) {
  a.addEventListener("click", (e) => {
    if (!(e instanceof MouseEvent) || e.metaKey || e.ctrlKey) return;
    e.preventDefault();
    const p = fromForm();
    p.delete("until");
    const since = a.getAttribute("data-since");
    if (since) p.set("since", since);
    else p.delete("since");
    go(p, { again: true });
  });
}
byId("live").addEventListener("click", () => {
  const p = current();
  const on = !p.has("live");
  if (on) p.set("live", "1");
  else p.delete("live");
  // What came since the table was asked for comes as one answer, not row by row.
  go(p, { replace: true, again: on });
});
chart.onZoom((from, to) => {
  const p = fromForm();
  p.set("since", from);
  p.set("until", to);
  go(p);
});
// Links of the page's own to other states of it need no new document.
document.addEventListener("click", (e) => {
  if (e.metaKey || e.ctrlKey || e.shiftKey || e.button !== 0) return;
  const a = e.target instanceof Element ? e.target.closest("a[href^='/?'], a[href='/']") : null;
  if (!(a instanceof HTMLAnchorElement) || e.defaultPrevented || a.hasAttribute("data-cursor")) return;
  e.preventDefault();
  const p = new URL(a.href).searchParams;
  if (current().has("live") && !a.classList.contains("logo")) p.set("live", "1");
  go(p);
});
addEventListener("popstate", () => show(false));

results.listen({ open, addCondition });
detail.listen({ addCondition });
listenKeys({ open, toggleLive: () => byId("live").click() });
offerValues();
watchStatus();
document.documentElement.classList.add("js");
chart.update(drawn, results.cel());
live.set(drawn, results.cel(), results.last());
results.mark(drawn.get("event"));
