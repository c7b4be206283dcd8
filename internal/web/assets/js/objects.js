// The Objects view: a tree, what happened to its objects over time, and the
// history of the one that is selected.
//
// The URL's own parameters: under (the node of the tree), find (what the tree is
// searched for), object, diff (FROM..TO, or TO alone for the one before it), event
// (of a mark that is no revision), form=inline, noise, status (its updates are
// listed). The zoom is the range.

import { ask, scopeOf } from "./api.js";
import { action } from "./diff.js";
import { recorded } from "./diff-bodies.js";
import { element, replace, toast } from "./dom.js";
import { History } from "./objects-history.js";
import { depths, kind, parsePath, path, visible } from "./objects-key.js";
import { Tree } from "./objects-tree.js";
import { quote } from "./state.js";
import { empty, failure, loading } from "./states.js";
import { className, kindOf, kindOfEvent, Lane, outcomeName, Row } from "./timeline-data.js";
import { readColours } from "./timeline-draw.js";
import { legend, Timeline } from "./timeline.js";

/** @typedef {import("./view.js").App} App */
/** @typedef {import("./view.js").State} State */
/** @typedef {import("./objects-key.js").Key} Key */
/** @typedef {import("./timeline-data.js").WireLane} WireLane */
/** @typedef {{range: {from: string, to: string}, lanes: WireLane[] | null, collections?: WireLane[], next?: string, warnings?: {text: string}[]}} LanesAnswer */
/** @typedef {{question: string, from: number, to: number, lanes: Map<string, Lane>}} Known */

const own = ["under", "find", "object", "diff", "event", "form", "noise", "status"];
// The first answer has what is in sight and a little more, so that it comes soon;
// those behind it are asked for when the last row comes into sight.
const firstLanes = 60;
const moreLanes = 240;
const mostLanes = 5000;

/** @type {App} */
let app;
/** @type {Timeline} */
let timeline;
/** @type {Tree} */
let tree;
/** @type {History} */
let history;
/** @type {Record<string, HTMLElement>} */
let parts = {};
/** The widest answer to the question: what is around a range that was zoomed to. @type {Known | null} */
let base = null;
/** @type {Map<string, Row>} */
let rows = new Map();
/** Deletions of collections by the kinds that they are of, as far as they were told; no question makes them untrue. @type {Map<string, Lane>} */
const removals = new Map();
/** The order of rows, kept while only the range changes. @type {Map<string, number>} */
let order = new Map();
/** @type {[number, number]} */
let known = [0, 1];
let ruled = true; // whether it has times that are known: of an event, or of the range
let next = "";
let paging = false;
let failed = false; // the next lanes did not come
// Of the questions for the lanes and for the tree, the last one counts.
let askingLanes = new AbortController();
let askingTree = new AbortController();
let where = ""; // in the tree the crumbs say that one is
let treeAsked = "";
let lanesAsked = "";
let zoomed = 0; // when the range was changed here last
let listening = new AbortController();
/** @type {AbortSignal} */
let signal = listening.signal;
let again = 0;
let top = 0; // place of the newest row that came live
let followed = 0; // the timer until the history is asked for again
let frame = 0;

/** @param {URLSearchParams} p */
function under(p) {
  const got = parsePath(p.get("under"));
  return got && got.depth < depths.object ? got : null;
}

/** The filter with what the tree is searched for. @param {State} state */
function celOf(state) {
  const typed = state.params.get("find")?.trim();
  if (!typed) return state.cel ?? "";
  // Names are in small letters, but for a few that are found as they are written.
  const texts = [...new Set([typed.toLowerCase(), typed])];
  const found = ["name", "namespace", "resource", "cluster"].flatMap((c) => texts.map((x) => `${c}.contains(${quote(x)})`)).join(" || ");
  return state.cel ? `(${state.cel}) && (${found})` : found;
}

/** @param {State} state @param {Record<string, string | number>} extra @param {{key: Key, depth: number} | null} node */
function question(state, extra, node) {
  const p = scopeOf({ ...state, cel: celOf(state) }, extra);
  if (node) {
    p.set("depth", String(node.depth));
    const names = [["cluster"], ["namespace"], ["api_group", "resource"]].slice(0, node.depth).flat();
    for (const n of names) {
      const v = /** @type {Record<string, string>} */ (/** @type {unknown} */ (node.key))[n];
      if (v) p.set(n, v);
    }
  }
  return p;
}

/** Goes to another range; one gesture after the other is one step back. @param {number} from @param {number} to */
function toRange(from, to) {
  const soon = performance.now() - zoomed < 1500;
  zoomed = performance.now();
  app.go(
    (p) => {
      p.set("since", new Date(Math.floor(from)).toISOString());
      p.set("until", new Date(Math.ceil(to)).toISOString());
    },
    { replace: soon },
  );
}

/** @param {State} state @param {string} cursor */
function lanesParams(state, cursor) {
  // A mark is wider than two pixels: finer bins would not be seen.
  const bins = Math.max(100, Math.min(1200, Math.round(timeline.width / 2)));
  const limit = cursor ? moreLanes : Math.max(firstLanes, timeline.visible + 8);
  const p = question(state, { bins, limit }, under(state.params));
  if (cursor) p.set("cursor", cursor);
  return p;
}

/** @param {string} text */
function ms(text) {
  return Date.parse(text) || 0;
}

/** @param {State} state */
async function askLanes(state) {
  askingLanes.abort();
  askingLanes = new AbortController();
  const asking = AbortSignal.any([signal, askingLanes.signal]);
  parts.timeline.setAttribute("aria-busy", "true");
  const asked = `${celOf(state)}\n${state.params.get("under") ?? ""}`;
  if (!rows.size) {
    parts.state.replaceChildren(loading());
    parts.state.hidden = false;
  }
  /** @type {LanesAnswer} */
  let a;
  try {
    a = await ask("lanes", lanesParams(state, ""), { signal: asking });
    // The selected object stays in sight, however little happened to it in this range.
    const selected = parsePath(state.params.get("object"));
    const id = selected ? path(selected.key) : "";
    if (selected?.depth === depths.object && !(a.lanes ?? []).some((l) => path(l.key) === id)) {
      const p = lanesParams(state, "");
      for (const n of ["depth", "cluster", "namespace", "api_group", "resource"]) p.delete(n);
      const { cluster, namespace, api_group, resource, name } = selected.key;
      p.set("object", JSON.stringify([cluster, namespace, api_group, resource, name]));
      const one = await ask("lanes", p, { signal: asking });
      a.lanes = [...(one.lanes ?? []), ...(a.lanes ?? [])];
      learn(one.collections);
      if (!a.lanes?.length) a.range = one.range;
    }
  } catch (err) {
    if (asking.aborted) return;
    if (base?.question !== asked) {
      rows = new Map(); // of another question
      show();
    }
    parts.state.replaceChildren(failure(err, app.again));
    parts.state.hidden = false;
    parts.timeline.removeAttribute("aria-busy");
    lanesAsked = "";
    return;
  }
  parts.timeline.removeAttribute("aria-busy");
  learn(a.collections);
  next = a.next ?? "";
  failed = false;
  const end = ms(a.range?.to) || state.to || Date.now();
  ruled = (ms(a.range?.from) || state.from) > 0;
  const from = ms(a.range?.from) || state.from || end - 3600e3;
  const to = Math.max(from + 1, end);
  const lanes = new Map((a.lanes ?? []).map((l) => [path(l.key), Lane.from(l)]));
  if (!base || base.question !== asked || from < base.from || to > base.to || again) {
    if (base?.question !== asked) order = new Map();
    base = { question: asked, from, to, lanes };
  }
  again = 0;
  const around = base;
  for (const id of lanes.keys()) if (!order.has(id)) order.set(id, order.size);
  rows = new Map();
  for (const [id, lane] of lanes) add(id, lane, around, from, to, state);
  known = [from, to];
  if (!timeline.busy) {
    const margin = (to - from) * 0.012; // so that the first and last marks are whole
    timeline.setRange(from - (state.since ? 0 : margin), to + (state.until ? 0 : margin));
  }
  show();
  tell(state, a.warnings ?? []);
}

/** @param {WireLane[]} [collections] whose deletions there are */
function learn(collections = []) {
  for (const { key, marks } of collections) for (const m of marks ?? []) removed(key, m[5] / 1000, kindOf(m[1], m[2]), m[3], m[4]);
}

/** A collection was deleted. @param {Key} key @param {number} time @param {number} what @param {number} count @param {number} id */
function removed(key, time, what, count, id) {
  const of = path(key, depths.kind);
  let lane = removals.get(of);
  if (!lane) removals.set(of, (lane = new Lane(key)));
  if (!lane.id.subarray(0, lane.n).includes(id)) lane.push(time, what, count, id);
}

/** @param {string} id @param {Lane} lane @param {Known} around @param {number} from @param {number} to @param {State} state */
function add(id, lane, around, from, to, state) {
  const row = new Row(id, lane.key, removals);
  row.fine = lane;
  row.base = around.lanes.get(id) ?? null;
  row.from = from;
  row.to = state.to ? to : Infinity;
  rows.set(id, row);
}

function show() {
  const list = [...rows.values()].sort((a, b) => (order.get(a.id) ?? 0) - (order.get(b.id) ?? 0));
  const { since, until } = app.state();
  parts.timeline.style.setProperty("--rows", String(list.length));
  timeline.endless = next !== "";
  // Before an open beginning there is nothing, and that is known.
  timeline.setRows(list, [since ? known[0] : -Infinity, until ? known[1] : Infinity]);
  if (rows.size) parts.state.hidden = true;
  mark(app.state());
}

/** The next lanes, when the last ones came into sight. */
async function more() {
  if (!next || paging || failed || rows.size >= mostLanes) return;
  paging = true;
  const state = app.state();
  const asking = AbortSignal.any([signal, askingLanes.signal]);
  try {
    const p = lanesParams(state, next);
    // The same range and bins as before, also where the range is open.
    for (const n of ["since", "until"]) p.delete(n);
    p.set("from", String(Math.round(known[0] * 1000)));
    p.set("to", String(Math.round(known[1] * 1000)));
    if (state.since && state.until) {
      for (const n of ["from", "to"]) p.delete(n);
      p.set("since", state.since);
      p.set("until", state.until);
    }
    /** @type {LanesAnswer} */
    const a = await ask("lanes", p, { signal: asking });
    learn(a.collections);
    next = a.next ?? "";
    for (const l of a.lanes ?? []) {
      const id = path(l.key);
      if (rows.has(id)) continue;
      const lane = Lane.from(l);
      if (base && base.from === known[0] && base.to === known[1]) base.lanes.set(id, lane);
      order.set(id, order.get(id) ?? order.size);
      if (base) add(id, lane, base, known[0], known[1], state);
    }
    show();
  } catch (err) {
    if (asking.aborted) return;
    failed = true; // what is there stays
    const told = element("p", "banner warn", "");
    told.setAttribute("role", "alert");
    const button = action("Try again", () => {
      told.remove();
      failed = false;
      more();
    });
    told.append(element("b", "", "The rows behind these did not come. "), visible(err instanceof Error ? err.message : String(err)), " ", button);
    parts.warnings.append(told);
  } finally {
    paging = false;
  }
}

/** What there is to say instead of rows, or above them. @param {State} state @param {{text: string}[]} warnings */
function tell(state, warnings) {
  const nothing = !ruled && state.last === "0"; // was ever stored
  parts.warnings.replaceChildren(
    ...(nothing ? [] : warnings).map((w) => {
      const p = element("p", "banner warn", "");
      p.setAttribute("role", "status");
      p.append(element("b", "", "This answer may be incomplete. "), visible(w.text));
      return p;
    }),
  );
  parts.state.hidden = rows.size > 0;
  if (rows.size) return;
  if (nothing) {
    parts.state.replaceChildren(empty("No events yet", "Objects show up here with their first request."));
    return;
  }
  const all = document.createElement("a");
  all.href = app.link("objects", (p) => {
    p.delete("since");
    p.delete("until");
    if (state.params.get("under")) p.set("under", state.params.get("under") ?? "");
  });
  all.textContent = "all of the time there is";
  parts.state.replaceChildren(state.since || state.until ? empty("Nothing happened here in this range", all) : empty("No request matches", "Loosen the filter, or choose another part of the tree."));
}

/** @param {State} state @param {boolean} search */
async function askTree(state, search) {
  askingTree.abort();
  askingTree = new AbortController();
  const asking = AbortSignal.any([signal, askingTree.signal]);
  const [u, o] = [under(state.params), parsePath(state.params.get("object"))];
  if (u) tree.reveal(u.key, u.depth + 1);
  if (o?.depth === depths.object) tree.reveal(o.key, o.depth);
  parts.tree.setAttribute("aria-busy", "true");
  try {
    await tree.load(asking, search);
    parts.none.textContent = "No object matches.";
    parts.none.hidden = tree.top.length > 0;
  } catch (err) {
    if (asking.aborted) return;
    treeAsked = "";
    failTree(err);
  }
  if (asking.aborted) return;
  parts.tree.removeAttribute("aria-busy");
}

/** @param {unknown} err */
function failTree(err) {
  parts.none.hidden = false;
  parts.none.replaceChildren(failure(err, app.again));
}

/** Shows what is selected. @param {State} state */
function mark(state) {
  const p = state.params;
  const o = parsePath(p.get("object"));
  const object = o?.depth === depths.object ? o : null;
  const u = under(p);
  tree.mark(object ? depths.object + ":" + path(object.key) : u ? u.depth + ":" + path(u.key, u.depth) : "");
  const id = object ? path(object.key) : "";
  timeline.select(id, id === timeline.selected ? timeline.names : []);
  history.setRow(rows.get(id) ?? null, known[0], known[1]);
  crumbs(u);
}

/** Where in the tree the timeline is. @param {{key: Key, depth: number} | null} u */
function crumbs(u) {
  const now = JSON.stringify([u, String(app.state().params)]);
  if (now === where) return; // drawn anew, they would lose the focus
  where = now;
  const link = (/** @type {string} */ text, /** @type {string | null} */ to) => {
    const a = document.createElement("a");
    a.href = app.link("objects", (p) => {
      for (const [n, v] of app.state().params) if (own.includes(n) && !["under"].includes(n)) p.set(n, v);
      if (to !== null) p.set("under", to);
    });
    a.append(element("bdi", "", text));
    return a;
  };
  const list = [link("All objects", null)];
  if (u) {
    list.push(link(visible(u.key.cluster) || "unnamed cluster", path(u.key, 1)));
    if (u.depth > 1) list.push(link(visible(u.key.namespace) || "in no namespace", path(u.key, 2)));
    if (u.depth > 2) list.push(link(visible(kind(u.key)), path(u.key, 3)));
  }
  list[list.length - 1].setAttribute("aria-current", "true");
  replace(parts.crumbs, ...list);
}

/** @param {State} state @param {boolean} fresh ask for the history even if it is the same object's */
async function showHistory(state, fresh) {
  const p = state.params;
  const o = parsePath(p.get("object"));
  document.body.classList.toggle("has-object", o?.depth === depths.object);
  if (o?.depth !== depths.object) {
    history.close();
    return;
  }
  await history.show(o.key, { diff: p.get("diff") ?? "", event: p.get("event") ?? "", inline: p.get("form") === "inline", noise: p.has("noise"), status: p.has("status") }, fresh);
}

/** @param {HTMLElement} root */
function build(root) {
  const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (root.querySelector(`[data-part="${name}"]`));
  parts = Object.fromEntries(["tree", "none", "find", "timeline", "state", "warnings", "crumbs", "legend", "history", "open", "close", "side"].map((n) => [n, find(n)]));
  tree = new Tree(parts.tree, {
    ask: (key, depth, limit, s) => ask("objects", question(app.state(), { limit }, depth ? { key, depth } : null), { signal: s }),
    pick(key, depth) {
      app.go((p) => {
        for (const n of ["object", "diff", "event"]) p.delete(n);
        p.set("under", path(key, Math.min(depth, depths.kind)));
        if (depth === depths.object) p.set("object", path(key));
      });
      if (depth === depths.object) drawer(false);
    },
    fail: (err) => toast(err instanceof Error ? err.message : String(err)),
  });
  timeline = new Timeline(parts.timeline, {
    range: toRange,
    select(row, hit) {
      const write = hit && !hit.lost && ["create", "change", "delete"].includes(className(hit.kind)) && outcomeName(hit.kind) === "ok";
      app.go((p) => {
        if (p.get("object") !== row.id || hit) for (const n of ["diff", "event"]) p.delete(n);
        p.set("object", row.id);
        if (hit) p.set(write ? "diff" : "event", String(hit.id));
      });
    },
    about: async (hit) => {
      try {
        return visible((await recorded(String(hit.id))).sentence);
      } catch {
        return "";
      }
    },
    more,
  });
  history = new History(parts.history, app, {
    named: (names) => timeline.select(timeline.selected, names),
    left: () => timeline.list.focus({ preventScroll: true }),
  });
  legend(parts.legend, readColours(root));
}

/** @param {boolean} open the tree, where there is no room for it beside the timeline */
function drawer(open) {
  parts.side.classList.toggle("open", open);
  parts.open.setAttribute("aria-expanded", String(open));
  if (open) parts.find.focus();
}

/** @param {string} what */
function zoom(what) {
  if (what === "in") timeline.zoom(0.5);
  else if (what === "out") timeline.zoom(2);
  else {
    app.go((p) => {
      p.delete("since");
      p.delete("until");
    });
  }
}

/** @type {import("./view.js").View} */
export const view = {
  own,

  mount(root, shell) {
    app = shell;
    listening = new AbortController();
    const on = { signal: listening.signal };
    build(root);
    parts.open.addEventListener("click", () => drawer(!parts.side.classList.contains("open")), on);
    parts.close.addEventListener("click", () => drawer(false), on);
    let wait = 0;
    parts.find.addEventListener(
      "input",
      () => {
        clearTimeout(wait);
        wait = setTimeout(() => {
          const text = /** @type {HTMLInputElement} */ (parts.find).value.trim();
          app.go((p) => (text ? p.set("find", text) : p.delete("find")), { replace: true });
        }, 250);
      },
      on,
    );
    parts.find.addEventListener(
      "keydown",
      (e) => {
        if (e.key !== "ArrowDown") return;
        e.preventDefault();
        /** @type {HTMLElement | null} */ (parts.tree.querySelector('[tabindex="0"]'))?.focus();
      },
      on,
    );
    for (const b of root.querySelectorAll("[data-zoom]")) b.addEventListener("click", () => zoom(b.getAttribute("data-zoom") ?? ""), on);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => legend(parts.legend, readColours(root)), on);
  },

  async update(state, before, why) {
    signal = why.signal;
    const p = state.params;
    const input = /** @type {HTMLInputElement} */ (parts.find);
    if (document.activeElement !== input) input.value = p.get("find") ?? "";
    if (state.cel === null) {
      rows = new Map();
      base = null;
      [treeAsked, lanesAsked] = ["", ""];
      askingLanes.abort();
      askingTree.abort();
      for (const el of [parts.timeline, parts.tree]) el.removeAttribute("aria-busy");
      timeline.setRows([], known);
      parts.state.hidden = false;
      parts.state.replaceChildren(empty("This cannot be asked", "It says why above."));
      return;
    }
    const scope = `${celOf(state)}\n${state.since}\n${state.until}`;
    const lanes = `${scope}\n${p.get("under") ?? ""}`;
    const fresh = why.asked && `${celOf(before)}\n${before.params.get("since")}\n${before.params.get("until")}` === `${celOf(state)}\n${p.get("since")}\n${p.get("until")}`;
    if (fresh) again = 1; // asked again: what is known may be old
    const work = [];
    const search = (p.get("find") ?? "") !== "";
    if (why.zone) {
      timeline.hideTip();
      timeline.draw();
    }
    mark(state);
    if (lanes !== lanesAsked || fresh) {
      lanesAsked = lanes;
      if (state.since && state.until && !timeline.busy) timeline.setRange(state.from, state.to);
      work.push(askLanes(state));
    }
    if (p.get("object") !== before.params.get("object") || why.first || fresh || own.some((n) => p.get(n) !== before.params.get(n))) work.push(showHistory(state, fresh));
    if (scope !== treeAsked || fresh) {
      treeAsked = scope;
      // One after the other: the timeline is what the reader looks at.
      if (work.length) await work[0];
      if (!why.signal.aborted) work.push(askTree(state, search));
    }
    await Promise.all(work);
    if (!why.signal.aborted) mark(state);
  },

  unmount() {
    listening.abort();
    for (const asking of [askingLanes, askingTree]) asking.abort();
    clearTimeout(followed);
    cancelAnimationFrame(frame);
    followed = frame = 0;
    where = "";
    history.close();
    timeline.destroy();
    parts.tree.replaceWith(parts.tree.cloneNode(false));
    base = null;
    [treeAsked, lanesAsked] = ["", ""];
  },

  key(e) {
    if (history.press(e)) return true;
    if (e.key === "f") {
      if (getComputedStyle(parts.open).display !== "none") drawer(true);
      parts.find.focus();
      return true;
    }
    if (e.key === "0") {
      zoom("all");
      return true;
    }
    return ["+", "=", "-", "ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp", "[", "]"].includes(e.key) && e.target === document.body ? (e.key.startsWith("Arrow") && timeline.list.focus({ preventScroll: true }), timeline.key(e)) : false;
  },

  close() {
    if (parts.side.classList.contains("open")) {
      drawer(false);
      return true;
    }
    if (!app.state().params.get("object")) return false;
    app.go((p) => ["object", "diff", "event"].forEach((n) => p.delete(n)));
    return true;
  },

  live: {
    url(state) {
      const p = new URLSearchParams({ raw: "false" });
      if (celOf(state)) p.set("filter", celOf(state));
      if (state.last) p.set("after", state.last);
      return "/api/v1/events/follow?" + p;
    },
    event: "audit",
    take(data, state) {
      const e = JSON.parse(data);
      const key = { cluster: e.cluster ?? "", namespace: e.namespace ?? "", api_group: e.api_group ?? "", resource: e.resource ?? "", name: e.name ?? "" };
      const u = under(state.params);
      if (!key.resource || (u && path(key, u.depth) !== path(u.key, u.depth))) return;
      const at = ms(e.time);
      if (at < state.from || (state.to && at >= state.to)) return;
      if (!ruled && at) {
        ruled = true;
        app.again();
        return;
      }
      const id = path(key);
      let row = rows.get(id);
      if (!row) {
        // What is new stands at the top, and what stands last gives way.
        if (rows.size >= mostLanes) rows.delete(timeline.rows.findLast((r) => rows.has(r.id) && r.id !== timeline.selected)?.id ?? "");
        row = new Row(id, key, removals);
        row.from = known[0];
        rows.set(id, row);
        top--;
        order.set(id, top);
      }
      const what = kindOfEvent(e);
      row.live().push(at, what, 1, e.id);
      if (e.verb === "deletecollection" && !key.name && className(what) === "delete" && outcomeName(what) === "ok") removed(key, at, what, 1, e.id);
      if (!state.until && at > known[1]) {
        const follows = timeline.to >= known[1];
        known[1] = at + (known[1] - known[0]) * 0.02;
        if (follows && !timeline.busy) timeline.setRange(timeline.from, known[1]);
      }
      timeline.draw();
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        if (rows.size !== timeline.rows.length || timeline.rows.some((r) => !rows.has(r.id))) show();
      });
      if (id !== timeline.selected) return;
      // Not later the more often it changes.
      followed ||= setTimeout(() => {
        followed = 0;
        showHistory(app.state(), true);
      }, 300);
    },
  },
};
