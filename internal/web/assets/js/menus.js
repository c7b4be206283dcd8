// The menus of saved views and of exports.

import { APIError, ask, scopeOf } from "./api.js";
import { byId, element, toast } from "./dom.js";
import { address, current } from "./state.js";
import { failure, loading } from "./states.js";
import { isLocal } from "./time.js";

/** @typedef {import("./view.js").State} State */
/** @typedef {{name: string, state: string}} Saved */

const list = byId("views-list");
const input = /** @type {HTMLInputElement} */ (byId("views-name"));
const said = byId("views-said");
const only = byId("export-only");
const onlyBox = /** @type {HTMLInputElement} */ (byId("export-chosen"));

/** What is shown, as it is kept: the place in the table, what is selected and live follow are of the moment. */
function stateNow() {
  const p = current();
  for (const name of ["cursor", "live", "selected"]) p.delete(name);
  return address(location.pathname, p);
}

/** @param {string} name */
function link(name) {
  return "/views/" + encodeURIComponent(name);
}

async function showViews() {
  said.textContent = "";
  list.replaceChildren(loading());
  try {
    fill((await ask("views")).views);
  } catch (err) {
    list.replaceChildren(failure(err, showViews));
  }
}

/** @param {Saved[]} views */
function fill(views) {
  if (!views.length) {
    list.replaceChildren(element("p", "quiet none", "None yet."));
    return;
  }
  const now = stateNow();
  const ul = element("ul", "", "");
  for (const v of views) {
    const li = element("li", "", "");
    const a = /** @type {HTMLAnchorElement} */ (element("a", "", ""));
    const name = element("bdi", "", v.name);
    a.append(name);
    a.href = v.state;
    if (v.state === now) a.setAttribute("aria-current", "true");
    li.append(a, act("Copy link", v, () => copy(v)), act("Delete", v, () => remove(v)));
    ul.append(li);
  }
  list.replaceChildren(ul);
}

/** @param {string} what @param {Saved} v @param {() => void} f */
function act(what, v, f) {
  const b = element("button", "small", what);
  b.setAttribute("type", "button");
  b.setAttribute("aria-label", `${what}: ${v.name}`);
  b.addEventListener("click", f);
  return b;
}

/** @param {Saved} v */
async function copy(v) {
  try {
    await navigator.clipboard.writeText(new URL(link(v.name), location.href).href);
    toast("Link copied");
  } catch {
    toast("The browser did not allow copying");
  }
}

/** @param {Saved} v */
async function remove(v) {
  try {
    fill((await ask("views/" + encodeURIComponent(v.name), null, { method: "DELETE" })).views);
    const back = undo(v);
    said.replaceChildren(`Deleted. `, back);
    back.focus(); // the button that was pressed is gone
  } catch (err) {
    said.textContent = /** @type {Error} */ (err).message;
  }
}

/** @param {Saved} v */
function undo(v) {
  const b = element("button", "small", "Undo");
  b.setAttribute("type", "button");
  b.addEventListener("click", async () => {
    await save(v.name, v.state, "POST");
  });
  return b;
}

/** @param {string} name @param {string} state @param {"POST" | "PUT"} method */
async function save(name, state, method) {
  try {
    await ask(method === "POST" ? "views" : "views/" + encodeURIComponent(name), null, { method, body: { name, state } });
    await showViews();
    said.textContent = "Saved.";
    input.value = "";
    input.focus(); // the button that was pressed may be gone
  } catch (err) {
    said.textContent = /** @type {Error} */ (err).message;
    if (!(err instanceof APIError) || err.status !== 409) return;
    const b = element("button", "small", "Replace it");
    b.setAttribute("type", "button");
    b.addEventListener("click", () => save(name, state, "PUT"));
    said.append(" ", b);
  }
}

/** @param {State} state @param {import("./view.js").Exported} what */
function showExport(state, what) {
  const links = byId("export-links");
  links.hidden = state.cel === null;
  const picked = what.ids?.length ?? 0;
  only.hidden = !picked || state.cel === null;
  byId("export-count").textContent = picked.toLocaleString("en");
  const ids = picked && onlyBox.checked ? (what.ids ?? []) : [];
  const chosen = picked === 1 ? "The event that is selected." : `The ${picked.toLocaleString("en")} events that are selected.`;
  byId("export-what").textContent =
    state.cel === null ? "The filter is not right, so there is nothing to export." : ids.length ? chosen : (what.words ?? "All events that match the filter in the range.");
  if (state.cel === null) return;
  const zone = isLocal() ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
  for (const a of links.querySelectorAll("a")) {
    const p = scopeOf({ ...state, cel: what.filter ?? state.cel }, { format: a.dataset.format ?? "", tz: zone });
    if (ids.length) p.set("ids", ids.join(","));
    if (what.columns?.length && a.dataset.format === "csv") p.set("columns", what.columns.join(","));
    a.href = "/api/v1/export?" + p;
  }
}

/** @param {"views" | "export"} name */
export function toggleMenu(name) {
  byId(name + "-menu").togglePopover();
}

/**
 * @param {() => State} state
 * @param {() => import("./view.js").Exported} exported
 */
export function listenMenus(state, exported) {
  byId("menus").hidden = false;
  const views = byId("views-menu");
  const exports = byId("export-menu");
  views.addEventListener("beforetoggle", (e) => {
    if (/** @type {ToggleEvent} */ (e).newState === "open") showViews();
  });
  views.addEventListener("toggle", (e) => {
    if (/** @type {ToggleEvent} */ (e).newState === "open") input.focus();
  });
  exports.addEventListener("beforetoggle", (e) => {
    if (/** @type {ToggleEvent} */ (e).newState !== "open") return;
    onlyBox.checked = true; // who has selected something means it
    showExport(state(), exported());
  });
  onlyBox.addEventListener("change", () => showExport(state(), exported()));
  exports.addEventListener("toggle", (e) => {
    if (/** @type {ToggleEvent} */ (e).newState === "open") exports.querySelector("a")?.focus();
  });
  byId("views-form").addEventListener("submit", (e) => {
    e.preventDefault();
    if (input.value.trim()) save(input.value.trim(), stateNow(), "POST");
  });
  list.addEventListener("click", (e) => {
    // A view that leads elsewhere on this page needs the menu no longer.
    if (e.target instanceof Element && e.target.closest("a")) views.hidePopover();
  });
}
