// The Events view: facets, histogram, table, and the open event beside it.

import * as chart from "./chart.js";
import { byId, fragment } from "./dom.js";
import * as detail from "./detail.js";
import * as columns from "./events-columns.js";
import * as facets from "./facets.js";
import * as results from "./results.js";
import * as selection from "./selection.js";

/** @typedef {import("./view.js").App} App */
/** @typedef {import("./view.js").State} State */

/** @type {App} */
let app;
/** When the counts were last asked for because of what came live. */
let counted = 0;
let counting = 0;
/** Whether something came since the counts were asked for. */
let more = false;

/** Rows that came live and are not in the table yet. @type {string[]} */
let came = [];
let frame = 0;

/** @param {string} id "" closes */
function open(id) {
  app.go((p) => (id ? p.set("event", id) : p.delete("event")));
}

/** @param {HTMLElement | null} row */
function openRow(row) {
  if (row) open(row.dataset.id ?? "");
}

/** Counts again after events came live, now and then. */
function count() {
  more = true;
  if (!counting) counting = setTimeout(recount, Math.max(1000, counted + 5000 - Date.now()));
}

/** Asks for the counts. The next ones wait until these are there: they may take long. */
async function recount() {
  const state = app.state();
  if (state.live && !chart.brushing()) {
    more = false;
    await Promise.all([chart.update(state), facets.refresh()]);
  }
  counted = Date.now();
  counting = 0;
  if (more && app.state().live) count();
}

/** @type {import("./view.js").View} */
export const view = {
  own: ["event", "columns", "facets"],
  bound: ["selected"],

  mount(_root, shell) {
    app = shell;
    results.listen(app.state().params, { open, addCondition: app.addCondition, again: app.again, note: app.note });
    results.adopt();
    detail.listen({ open, addCondition: app.addCondition });
    columns.mount(shell);
    facets.mount(shell);
    chart.onZoom((from, to) =>
      app.go((p) => {
        p.set("since", from);
        p.set("until", to);
      }),
    );
  },

  async update(state, before, why) {
    const p = state.params;
    const event = p.get("event");
    columns.update(p);
    if (why.first ? event : event !== before.params.get("event")) {
      const inside = byId("detail").contains(document.activeElement);
      detail.show(p, why.first);
      if (inside && !event) results.focus(before.params.get("event") ?? "");
    }
    results.mark(event);
    // Another question has other events; asked again, it has the same.
    selection.update(p);
    // Nobody waits any more for the counts of what was asked before.
    if (why.asked) {
      chart.stop();
      facets.stop();
      came = [];
    }
    if (why.zone) chart.again();
    // The events first: the counts cost more, and nobody waits for them alone.
    if (!why.first && (why.asked || p.get("columns") !== before.params.get("columns"))) await results.show(p);
    if (why.signal.aborted) return;
    if (why.asked || why.first) chart.update(state);
    facets.update(state, why.asked || why.first);
  },

  unmount() {
    clearTimeout(counting);
    counting = 0;
    chart.stop();
    results.stop();
    detail.stop();
  },

  key(e) {
    switch (e.key) {
      case "j":
        results.move(1);
        return true;
      case "k":
        results.move(-1);
        return true;
      case "n":
        openRow(results.move(1));
        return true;
      case "p":
        openRow(results.move(-1));
        return true;
      case "x":
      case "X":
        // A key that is held down means it once.
        if (!e.repeat) results.select(results.chosen(), e.key === "X");
        return true;
      case "t":
        results.toTop();
        return true;
      case "f":
        facets.focus();
        return true;
      case "c":
        columns.toggle();
        return true;
      case "b":
        byId("chart").focus();
        return true;
      case "s":
        return detail.find();
      case "Enter": {
        if (e.target instanceof Element && e.target.closest("a, button, summary")) return false;
        const row = results.chosen();
        openRow(row);
        return row !== null;
      }
    }
    return false;
  },

  close() {
    // Who leaves histogram or facets by Esc does not mean what is selected.
    const at = document.activeElement;
    if (at instanceof HTMLElement && at.closest("#chart, #facets")) {
      at.blur();
      return true;
    }
    if (byId("detail").hidden) return selection.clear();
    open("");
    return true;
  },

  exported() {
    return { ids: selection.ids(), columns: columns.forExport(app.state().params) };
  },

  live: {
    url(state) {
      const p = new URLSearchParams(state.params);
      for (const name of ["live", "event", "cursor", "facets"]) p.delete(name);
      if (results.last()) p.set("after", results.last());
      return "/page/follow?" + p;
    },
    event: "row",
    take(data) {
      came.push(data);
      // Once a frame, however many come.
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        const rows = [...fragment(came.join("")).querySelectorAll("tr")];
        came = [];
        if (!rows.length) return;
        count();
        // The first event of an empty answer: the table is drawn anew.
        if (!results.add(rows)) app.again();
      });
    },
  },
};
