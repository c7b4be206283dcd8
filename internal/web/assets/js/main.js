// The shell of the page: the one road from the URL to what is drawn. Every
// change of state goes through go(), which writes the URL; show() draws what the
// URL says. What a view is, view.js says.

import { byId, load } from "./dom.js";
import { listenKeys } from "./keys.js";
import * as live from "./live.js";
import { listenMenus, toggleMenu } from "./menus.js";
import { address, and, condition, current, fromForm, markWrong, sameQuestion, shared, timesToForm, toForm } from "./state.js";
import { failure } from "./states.js";
import { watchStatus } from "./status.js";
import { isLocal, localize, onZone, setLocal, zoneName } from "./time.js";
import { offerValues } from "./values.js";

/** @typedef {import("./view.js").State} State */
/** @typedef {import("./view.js").View} View */

const root = byId("view");
const base = document.body.dataset.path ?? "/";
const name = document.body.dataset.view ?? "";
const problem = byId("filter-error");
const progress = byId("progress");
const zone = /** @type {HTMLButtonElement} */ (byId("zone"));

/** @type {View} */
const view = (await import(`./${name}.js`)).view;

/** What is drawn now. */
let drawn = read(byId("scope"));
let asking = new AbortController();

/** The URL as a state, with the question as the server read it. @param {HTMLElement} scope @returns {State} */
function read(scope) {
  const params = current();
  for (const n of ["cursor", ...(view.bound ?? [])]) params.delete(n);
  const { cel = "", base: bare = "", last = "", from = "", to = "" } = scope.dataset;
  return {
    params, path: location.pathname, cel: "error" in scope.dataset ? null : cel, base: bare, last, since: from, until: to,
    from: Date.parse(from) || 0, to: Date.parse(to) || 0, live: params.has("live"),
  };
}

/** Whether a path is a page of this view. @param {string} path */
function ours(path) {
  return path === base || (base !== "/" && path.startsWith(base + "/"));
}

/** @type {import("./view.js").App["go"]} */
function go(change, how = {}) {
  const p = fromForm();
  change(p);
  visit(how.path ?? location.pathname, p, how);
}

/** @param {string} path @param {URLSearchParams} p @param {{replace?: boolean, again?: boolean}} [how] */
function visit(path, p, how = {}) {
  const was = current();
  const same = path === location.pathname && sameQuestion(p, was);
  for (const n of view.bound ?? []) {
    const value = same ? was.get(n) : null;
    if (value === null) p.delete(n);
    else p.set(n, value);
  }
  const url = address(path, p);
  if (how.replace || url === address(location.pathname, current())) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  show(how.again ?? false);
}

/** Draws what the URL says. @param {boolean} again ask even if the question is the same */
async function show(again) {
  const before = drawn;
  const now = read(byId("scope"));
  // What is being written stays while the address does.
  if (address(now.path, now.params) !== address(before.path, before.params)) toForm(now.params);
  links();
  const asked = again || now.path !== before.path || !sameQuestion(now.params, before.params);
  if (!asked) {
    drawn = now;
    return update(before, { asked });
  }
  asking.abort();
  asking = new AbortController();
  const signal = asking.signal;
  live.stop();
  drawn = now;
  root.setAttribute("aria-busy", "true");
  progress.hidden = false;
  const p = new URLSearchParams(now.params);
  p.set("path", location.pathname);
  for (const n of view.own) p.append("own", n);
  try {
    const html = await load("/page/scope?" + p, signal);
    const scope = /** @type {HTMLElement} */ (html.querySelector("#scope"));
    byId("scope").replaceWith(scope);
    byId("chosen").replaceWith(...html.querySelectorAll("#chosen"));
    problem.replaceChildren(...html.querySelectorAll(".problem"));
    markWrong(problem.querySelector("[data-field]")?.getAttribute("data-field") ?? "");
    drawn = read(scope);
  } catch (err) {
    if (signal.aborted) return;
    problem.replaceChildren(failure(err, () => show(true)));
    root.removeAttribute("aria-busy");
    progress.hidden = true;
    return;
  }
  await update(before, { asked });
}

/** @param {State} before @param {{asked?: boolean, first?: boolean, zone?: boolean}} why */
async function update(before, why) {
  const state = drawn;
  const signal = asking.signal;
  root.setAttribute("aria-busy", "true");
  try {
    await view.update(state, before, { first: false, asked: false, zone: false, ...why, signal });
  } catch (err) {
    if (!signal.aborted) problem.replaceChildren(failure(err, () => show(true)));
  }
  if (signal.aborted || state !== drawn) return;
  root.removeAttribute("aria-busy");
  progress.hidden = true;
  live.set(state, view.live);
}

/** Lets the navigation lead to the same question. */
function links() {
  for (const a of document.querySelectorAll(".views a")) {
    if (a instanceof HTMLAnchorElement) a.href = address(a.dataset.path ?? "/", shared(current()));
  }
  for (const a of document.querySelectorAll(".presets a")) {
    const p = current();
    for (const n of ["cursor", ...(view.bound ?? [])]) p.delete(n);
    toRange(p, a);
    a.setAttribute("href", address(location.pathname, p));
  }
}

/** @param {URLSearchParams} p @param {Element} preset a range that is one click away */
function toRange(p, preset) {
  const since = preset.getAttribute("data-since");
  p.delete("until");
  if (since) p.set("since", since);
  else p.delete("since");
}

/** @type {import("./view.js").App} */
const app = {
  go,
  again() {
    visit(location.pathname, current(), { again: true });
  },
  note(change) {
    const p = current();
    change(p);
    history.replaceState(null, "", address(location.pathname, p));
  },
  state: () => drawn,
  addCondition(column, value, not) {
    go((p) => p.set("filter", and(p.get("filter") ?? "", condition(column, value, not))));
  },
  link(to, change, path) {
    const p = shared(current());
    change?.(p);
    const a = document.querySelector(`.views a[data-view="${CSS.escape(to)}"]`);
    return address(path ?? a?.getAttribute("data-path") ?? "/", p);
  },
};

const search = byId("search");
search.addEventListener("submit", (e) => {
  e.preventDefault();
  visit(location.pathname, fromForm(), { again: true });
});
search.addEventListener("change", (e) => {
  // Boxes and values that were picked from a list are meant at once; a filter
  // that is being written is not.
  if (e.target instanceof HTMLInputElement && e.target.id !== "filter") visit(location.pathname, fromForm());
});
for (const a of document.querySelectorAll(".presets a")) {
  a.addEventListener("click", (e) => {
    if (!(e instanceof MouseEvent) || e.metaKey || e.ctrlKey) return;
    e.preventDefault();
    go((p) => toRange(p, a), { again: true });
  });
}

function toggleLive() {
  const on = !drawn.live;
  // What came since the question was asked comes as one answer, not one by one.
  go((p) => (on ? p.set("live", "1") : p.delete("live")), { replace: true, again: on });
}
byId("live").addEventListener("click", toggleLive);

function nameZone() {
  zone.textContent = zoneName();
  zone.title = `Times are ${isLocal() ? "local (" + zoneName() + "), also those that you type" : "UTC, also those that you type"}. Switch (z)`;
}
function toggleZone() {
  setLocal(!isLocal());
}
zone.disabled = false;
zone.addEventListener("click", toggleZone);
onZone(() => {
  nameZone();
  timesToForm(drawn.params);
  update(drawn, { zone: true });
});

// Links to other states of this view need no new document.
document.addEventListener("click", (e) => {
  if (e.metaKey || e.ctrlKey || e.shiftKey || e.button !== 0 || e.defaultPrevented) return;
  const a = e.target instanceof Element ? e.target.closest("a[href]") : null;
  if (!(a instanceof HTMLAnchorElement) || a.target || a.hasAttribute("data-cursor")) return;
  const to = new URL(a.href);
  if (to.origin !== location.origin || !ours(to.pathname) || a.getAttribute("href")?.startsWith("#")) return;
  e.preventDefault();
  const p = to.searchParams;
  if (drawn.live && !a.classList.contains("logo")) p.set("live", "1");
  visit(to.pathname, p);
});
addEventListener("popstate", () => show(false));

listenKeys({
  key: (e) => view.key?.(e) ?? false,
  close: () => view.close?.() ?? false,
  shared: { l: toggleLive, z: toggleZone, v: () => toggleMenu("views"), e: () => toggleMenu("export"), "?": () => byId("help").togglePopover() },
});
listenMenus(app.state, () => view.exported?.() ?? {});
offerValues();

// What nobody answered while the server was away is asked again when it is back;
// later and later, for it may be what is asked that a server does not survive.
let passed = 0; // answers since it was asked again
let pass = 0; // so many, before it is asked once more
watchStatus(() => {
  if (document.querySelector("[aria-busy]")) return;
  const lost = document.querySelectorAll("#filter-error .gone button, #view .gone button");
  if (!lost.length) passed = pass = 0;
  else if (passed++ >= pass) {
    passed = 0;
    pass = Math.min(2 * pass + 1, 31);
    for (const b of lost) /** @type {HTMLElement} */ (b).click();
  }
});

addEventListener("pagehide", () => {
  asking.abort();
  live.stop();
  view.unmount();
});
addEventListener("pageshow", (e) => {
  // Back from the browser's cache: what is drawn is old, and nothing runs any more.
  if (e.persisted) location.reload();
});

nameZone();
localize(document);
toForm(drawn.params);
view.mount(root, app);
update(drawn, { first: true });
document.documentElement.classList.add("js");
