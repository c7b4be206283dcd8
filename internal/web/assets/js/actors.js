// The Actors view: who was active, and what one of them did. The server draws
// the parts, each asked for on its own, so that the quick ones are there first.
//
//   /actors          find, kind, sort: the list (page_actors.go)
//   /actors/USER     now: is it still going on; touched, day and trail (page_actor.go)

import { follow, startOver, tick } from "./actors-live.js";
import { moveInHeat, rove } from "./actors-heat.js";
import { byId, load, replace } from "./dom.js";
import { and, condition } from "./state.js";
import { failure, loading } from "./states.js";

/** @typedef {import("./view.js").State} State */

/** @type {import("./view.js").App} */
let app;
/** @type {HTMLElement} */
let root;
let asking = new AbortController();
let listening = new AbortController();
let drawn = ""; // the page that is drawn, without the shared question
let shownUser = "";
let timer = 0;
let finding = 0;

const keepOf = ["find", "kind", "sort"];

/** The user whose page it is, "" for the list. @param {State} state */
function userOf(state) {
  const rest = state.path.split("/")[2] ?? "";
  try {
    return rest ? decodeURIComponent(rest) : (state.params.get("actor") ?? "");
  } catch {
    return rest; // half an escape: the server says what it thinks of it
  }
}

function again() {
  app.again();
}

/**
 * Draws one part. One that fails leaves the others alone.
 * @param {string} part
 * @param {HTMLElement} host
 * @param {URLSearchParams} p
 * @param {AbortSignal} signal
 * @param {boolean} fresh whether what stands there is of something else
 */
async function draw(part, host, p, signal, fresh) {
  if (fresh) host.replaceChildren(loading());
  try {
    const html = await load(`/page/actors/${part}?${p}`, signal);
    if (!signal.aborted) replace(host, html);
  } catch (err) {
    if (!signal.aborted) host.replaceChildren(failure(err, again));
  }
}

/** Moves the focus among actors or sessions. @param {number} by */
function step(by) {
  const links = /** @type {HTMLElement[]} */ ([...root.querySelectorAll("tr.actor th a, tr.session th a")]).filter((a) => a.offsetParent !== null);
  const now = links.findIndex((a) => a.closest("tr")?.contains(document.activeElement));
  const to = links[now < 0 ? (by > 0 ? 0 : links.length - 1) : Math.max(0, Math.min(links.length - 1, now + by))];
  to?.focus();
  to?.scrollIntoView({ block: "nearest" });
}

function find() {
  clearTimeout(finding);
  finding = window.setTimeout(() => {
    const value = /** @type {HTMLInputElement} */ (byId("actors-find")).value.trim();
    app.go((p) => (value ? p.set("find", value) : p.delete("find")), { replace: true });
  }, 150);
}

function listen() {
  const { signal } = listening;
  const box = byId("actors-find");
  box.addEventListener("input", find, { signal });
  box.addEventListener(
    "keydown",
    (e) => {
      if (e.key !== "Enter" || e.isComposing) return;
      const first = root.querySelector("tr.actor th a");
      if (first instanceof HTMLElement) first.click();
    },
    { signal },
  );
  byId("actor-again").addEventListener("click", again, { signal });
  root.addEventListener(
    "click",
    (e) => {
      // A failed part's link leads to where the page is already.
      if (!(e.target instanceof Element) || !e.target.closest(".empty.error a.button")) return;
      e.preventDefault();
      again();
    },
    { signal },
  );
}

/** @type {import("./view.js").View} */
export const view = {
  own: ["find", "kind", "sort", "actor"],

  mount(element, shell) {
    app = shell;
    root = element;
    drawn = "";
    listening = new AbortController();
    listen();
    timer = window.setInterval(tick, 5000);
  },

  async update(state, _before, why) {
    const user = userOf(state);
    const page = JSON.stringify(user ? [user] : ["", ...keepOf.map((n) => state.params.get(n))]);
    byId("actor-live").hidden = !user || !state.live;
    if (page === drawn && !why.asked) return;
    const fresh = why.first || user !== shownUser;
    drawn = page;
    shownUser = user;
    asking.abort();
    asking = new AbortController();
    const signal = AbortSignal.any([asking.signal, why.signal]);
    byId("actors-frame").hidden = user !== "";
    byId("actor-frame").hidden = user === "";
    const p = new URLSearchParams(state.params);
    startOver();
    if (fresh && !why.first) {
      byId("actors").focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    if (fresh && user) for (const part of ["touched", "day", "trail"]) byId(`actor-${part}`).replaceChildren(loading());
    if (!user) {
      const box = /** @type {HTMLInputElement} */ (byId("actors-find"));
      if (document.activeElement !== box) box.value = p.get("find") ?? "";
      await draw("list", byId("actors-list"), p, signal, fresh);
      return;
    }
    p.set("actor", user);
    // What a person asks first is answered first: is it still going on, and what
    // was touched. The rest would take the server's time from them.
    for (const parts of [["now", "touched"], ["day"], ["trail"]]) {
      await Promise.all(parts.map((part) => draw(part, byId(`actor-${part}`), p, signal, fresh)));
      if (signal.aborted) return;
    }
    rove();
  },

  unmount() {
    clearInterval(timer);
    clearTimeout(finding);
    asking.abort();
    listening.abort();
  },

  key(e) {
    if (e.key.startsWith("Arrow")) return moveInHeat(e.key);
    const listed = byId("actor-frame").hidden;
    switch (e.key) {
      case "f":
        if (!listed) return false;
        byId("actors-find").focus();
        return true;
      case "j":
        step(1);
        return true;
      case "k":
        step(-1);
        return true;
      case "r":
        again();
        return true;
      case "u":
        if (listed) return false;
        app.go((p) => p.delete("actor"), { path: "/actors" });
        return true;
    }
    return false;
  },

  live: {
    url(state) {
      const p = new URLSearchParams(state.params);
      // How the list is shown does not matter to what comes: the stream goes on.
      for (const n of ["live", ...keepOf]) p.delete(n);
      if (state.last) p.set("after", state.last);
      const user = userOf(state);
      if (user) p.set("actor", user);
      return "/page/actors/follow?" + p;
    },
    event: "request",
    take(data, state) {
      if (userOf(state) === shownUser) follow(data, shownUser);
    },
  },

  exported() {
    const state = app.state();
    const user = userOf(state);
    if (!user || state.cel === null) return {};
    return { filter: and(state.cel, condition("user", user, false)), words: `What ${user} did.` };
  },
};
