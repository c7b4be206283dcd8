// The facets: the values of several columns with their counts, to include and
// to leave out. What is chosen is in the URL (include, exclude); a column's own
// choice does not narrow its values, so that others can be added to it.

import { ask, scopeOf } from "./api.js";
import { byId, element } from "./dom.js";
import { short } from "./objects-key.js";
import { failure } from "./states.js";

/** @typedef {import("./view.js").App} App */
/** @typedef {import("./view.js").State} State */
/** @typedef {{keys: string[], count: number}} Row */
/** @typedef {{column: string, rows: Row[], more?: boolean}} Facet */

/**
 * @typedef {object} Section one column's part of the panel
 * @property {string} column
 * @property {HTMLDetailsElement} box
 * @property {HTMLElement} list
 * @property {HTMLInputElement} find
 * @property {HTMLButtonElement} more
 * @property {number} limit of values
 */

/** The columns, and what no value means there. */
const columns = [
  { column: "user", title: "User", none: "nobody" },
  { column: "as_user", title: "As whom", none: "themselves" },
  { column: "verb", title: "Verb", none: "none" },
  { column: "resource", title: "Resource", none: "no resource" },
  { column: "namespace", title: "Namespace", none: "no namespace" },
  { column: "code", title: "Code", none: "none" },
  { column: "source_ips", title: "Address", none: "none" },
  { column: "agent", title: "Agent", none: "none" },
];
const accounts = "system:serviceaccount:";
const few = 6;
const steps = [few, 30, 200, 1000];
const key = "ktrail.facets.closed"; // which columns are folded is the reader's, as the time zone is

const panel = byId("facets");
const toggle = byId("facets-toggle");
const narrow = matchMedia("(max-width: 900px)");

/** @type {App} */
let app;
/** @type {State | null} */
let shown = null;
let asking = new AbortController();
/** @type {Section[]} */
let sections = [];

/** @returns {Set<string>} */
function folded() {
  try {
    return new Set((localStorage.getItem(key) ?? "").split(" ").filter(Boolean));
  } catch {
    return new Set();
  }
}

/** @param {State} state */
function isOpen(state) {
  const said = state.params.get("facets");
  return said === null ? !narrow.matches : said !== "0";
}

/** @param {App} shell */
export function mount(shell) {
  app = shell;
  const closed = folded();
  sections = columns.map(({ column, title }) => {
    const box = document.createElement("details");
    box.className = "facet";
    box.dataset.column = column;
    box.open = !closed.has(column);
    const find = document.createElement("input");
    find.type = "search";
    find.placeholder = "find";
    find.setAttribute("aria-label", `Find in ${title}`);
    find.spellcheck = false;
    const list = element("ul", "facet-values", "");
    list.setAttribute("aria-label", title);
    const more = /** @type {HTMLButtonElement} */ (element("button", "facet-more", "more"));
    more.type = "button";
    more.setAttribute("aria-label", `More of ${title}`);
    more.hidden = true;
    box.append(element("summary", "", title), find, list, more);
    return { column, box, list, find, more, limit: few };
  });
  panel.replaceChildren(element("h2", "sr", "Facets"), ...sections.map((s) => s.box));
  for (const s of sections) {
    s.box.addEventListener("toggle", () => {
      try {
        localStorage.setItem(key, sections.filter((o) => !o.box.open).map((o) => o.column).join(" "));
      } catch {
        // No storage: it stays so as long as the page.
      }
      if (s.box.open && !panel.hidden && !s.list.childElementCount && !s.list.hasAttribute("aria-busy")) load([s]);
    });
    let typed = 0;
    s.find.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => load([s]), 150);
    });
    s.more.addEventListener("click", () => {
      s.limit = steps.find((n) => n > s.limit) ?? s.limit;
      load([s]);
    });
  }
  panel.onclick = (e) => {
    const b = e.target instanceof Element ? e.target.closest("button[data-value]") : null;
    if (b instanceof HTMLButtonElement) choose(b, b.dataset.not === "1");
  };
  panel.onkeydown = keys;
  toggle.hidden = false;
  toggle.onclick = () => setOpen(Boolean(panel.hidden));
  narrow.onchange = () => shown && update(shown, true);
}

/** @param {boolean} open */
export function setOpen(open) {
  app.go((p) => {
    if (open === !narrow.matches) p.delete("facets");
    else p.set("facets", open ? "1" : "0");
  }, { replace: true });
}

/** To the facets by keyboard. */
export function focus() {
  if (panel.hidden) setOpen(true);
  // Where there is little room the open event has their place.
  if (!panel.checkVisibility()) app.go((p) => p.delete("event"));
  const first = panel.querySelector("button[data-value][tabindex='0']") ?? panel.querySelector("summary");
  if (first instanceof HTMLElement) first.focus();
}

/** @param {HTMLButtonElement} b @param {boolean} not */
function choose(b, not) {
  const column = b.dataset.column ?? "";
  const pair = `${column}=${b.dataset.value ?? ""}`;
  const [to, from] = not ? ["exclude", "include"] : ["include", "exclude"];
  app.go((p) => {
    const was = p.getAll(to).includes(pair);
    for (const name of [to, from]) {
      const rest = p.getAll(name).filter((v) => v !== pair);
      p.delete(name);
      for (const v of rest) p.append(name, v);
    }
    if (!was) p.append(to, pair);
  });
}

/**
 * Draws what the state asks for.
 * @param {State} state
 * @param {boolean} asked whether the question is another one
 */
export async function update(state, asked) {
  const open = isOpen(state);
  const appeared = open && panel.hidden;
  panel.hidden = !open;
  toggle.setAttribute("aria-expanded", String(open));
  shown = state;
  if (!open || state.cel === null) {
    asking.abort();
    for (const s of sections) {
      s.list.removeAttribute("aria-busy");
      if (open) s.list.replaceChildren();
    }
  } else if (asked || appeared) {
    asking.abort();
    asking = new AbortController();
    await load(sections);
  }
}

/** Asks again for what is shown, in the background. */
export async function refresh() {
  if (shown && !panel.hidden && shown.cel !== null) await load(sections);
}

/** Ends what is asked. */
export function stop() {
  asking.abort();
  for (const s of sections) s.list.removeAttribute("aria-busy");
}

/** @param {Section[]} which */
async function load(which) {
  const state = shown;
  const signal = asking.signal;
  if (!state || state.cel === null) return;
  // Those that ask for the same go into one request.
  /** @type {Map<string, Section[]>} */
  const groups = new Map();
  for (const s of which) {
    if (!s.box.open) {
      s.list.replaceChildren(); // asked for when it is unfolded
      continue;
    }
    const same = `${s.limit} ${s.find.value.trim()}`;
    groups.set(same, [...(groups.get(same) ?? []), s]);
    s.list.setAttribute("aria-busy", "true");
  }
  await Promise.all([...groups.values()].map((group) => loadGroup(group, state, signal)));
}

/** @param {Section[]} group @param {State} state @param {AbortSignal} signal */
async function loadGroup(group, state, signal) {
  const contains = group[0].find.value.trim();
  const limit = group[0].limit;
  const p = scopeOf({ ...state, cel: state.base }, { columns: group.map((s) => s.column).join(","), limit });
  if (contains) p.set("contains", contains);
  for (const name of ["include", "exclude"]) for (const v of state.params.getAll(name)) p.append(name, v);
  const stale = () => signal.aborted || group[0].find.value.trim() !== contains || group[0].limit !== limit;
  try {
    const answer = await ask("facets", p, { signal });
    if (stale()) return;
    for (const f of /** @type {Facet[]} */ (answer.facets)) {
      const s = group.find((g) => g.column === f.column);
      if (s) fill(s, f, state, answer.total);
    }
  } catch (err) {
    if (stale()) return;
    for (const s of group) {
      s.list.replaceChildren();
      s.more.hidden = true;
    }
    group[0].list.replaceChildren(wrap(failure(err, () => load(group))));
  }
  for (const s of group) s.list.removeAttribute("aria-busy");
}

/** @param {HTMLElement} inner */
function wrap(inner) {
  const li = document.createElement("li");
  li.append(inner);
  return li;
}

/** @param {Section} s @param {Facet} f @param {State} state @param {number} total */
function fill(s, f, state, total) {
  const focused = s.list.contains(document.activeElement) ? document.activeElement : null;
  const [value, not] = focused instanceof HTMLElement ? [focused.dataset.value, focused.dataset.not] : [];
  const included = new Set(state.params.getAll("include"));
  const excluded = new Set(state.params.getAll("exclude"));
  const top = f.rows.reduce((n, r) => Math.max(n, r.count), 1);
  const none = columns.find((c) => c.column === s.column)?.none ?? "none";
  s.list.replaceChildren(
    ...f.rows.map((r, i) => {
      const v = r.keys[0];
      const pair = `${s.column}=${v}`;
      const text = v === "" || (s.column === "code" && v === "0") ? none : short(v);
      const state1 = included.has(pair) ? "in" : excluded.has(pair) ? "out" : "";
      const li = element("li", `facet-row ${state1}`, "");
      const meter = element("span", "meter", "");
      meter.style.width = `${Math.max(1, (100 * r.count) / top)}%`;
      const name = element("bdi", text === none ? "value none" : "value", text);
      if (v.startsWith(accounts) && text === v) {
        // All service accounts begin alike: that gives way where there is little room.
        name.classList.add("who");
        name.replaceChildren(element("span", "prefix", accounts), element("span", "own", v.slice(accounts.length)));
      }
      const yes = choice(s.column, v, false, state1 === "in");
      yes.title = `${text} · ${r.count.toLocaleString("en")}${total ? ` of ${total.toLocaleString("en")}` : ""}`;
      yes.append(meter, element("span", "tick", state1 === "in" ? "✓" : state1 === "out" ? "✕" : ""), name, " ", element("span", "count", compact(r.count)));
      const no = choice(s.column, v, true, state1 === "out");
      no.title = "Not these";
      no.append(element("span", "mark", ""), element("span", "sr", `${text}, leave out`));
      yes.tabIndex = i === 0 ? 0 : -1;
      no.tabIndex = -1;
      li.append(yes, no);
      return li;
    }),
  );
  if (!f.rows.length) s.list.append(element("li", "quiet none", s.find.value.trim() ? "none contains this" : "none"));
  const pressed = document.activeElement === s.more;
  s.more.hidden = !f.more || s.limit >= steps[steps.length - 1];
  if (pressed && s.more.hidden) buttons(s.list)[0]?.focus();
  s.find.hidden = !f.more && !s.find.value && s.limit === few;
  if (focused) {
    const again = value === undefined ? undefined : buttons(s.list).find((b) => b.dataset.value === value && b.dataset.not === not);
    (again ?? s.list.querySelector("button") ?? panel).focus();
  }
}

/** @param {string} column @param {string} value @param {boolean} not @param {boolean} on */
function choice(column, value, not, on) {
  const b = document.createElement("button");
  b.type = "button";
  b.className = not ? "leave" : "take";
  b.dataset.column = column;
  b.dataset.value = value;
  if (not) b.dataset.not = "1";
  b.setAttribute("aria-pressed", String(on));
  return b;
}

const compacted = Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @param {number} n */
function compact(n) {
  return n < 10000 ? n.toLocaleString("en") : compacted.format(n);
}

/** @param {ParentNode} root */
function buttons(root) {
  return [...root.querySelectorAll("button[data-value]")].map((b) => /** @type {HTMLButtonElement} */ (b));
}

/** Arrows go over the values; one of each facet is reached by Tab. @param {KeyboardEvent} e */
function keys(e) {
  const b = e.target;
  if (!(b instanceof HTMLButtonElement) || b.dataset.value === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
  const not = b.dataset.not === "1";
  /** @type {HTMLButtonElement | undefined} */
  let to;
  if (e.key === "ArrowDown" || e.key === "ArrowUp") {
    const all = buttons(panel).filter((o) => (o.dataset.not === "1") === not && o.checkVisibility());
    to = all[all.indexOf(b) + (e.key === "ArrowDown" ? 1 : -1)];
  } else if (e.key === "ArrowRight" || e.key === "ArrowLeft") {
    to = buttons(b.parentElement ?? panel)[e.key === "ArrowRight" ? 1 : 0];
  } else if (e.key === "-" || e.key === "Delete") {
    choose(b, true);
  } else {
    return;
  }
  e.preventDefault();
  e.stopPropagation();
  to?.focus();
}
