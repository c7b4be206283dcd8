// The Events view: facets, histogram, table, and the open event beside it.

import * as chart from "./chart.js";
import { byId, fragment } from "./dom.js";
import * as detail from "./detail.js";
import * as columns from "./events-columns.js";
import * as facets from "./facets.js";
import * as results from "./results.js";

/** @typedef {import("./view.js").App} App */
/** @typedef {import("./view.js").State} State */

/** @type {App} */
let app;
/** When the counts were last asked for because of what came live. */
let counted = 0;
let counting = 0;

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
  if (counting) return;
  counting = setTimeout(
    () => {
      counting = 0;
      counted = Date.now();
      const state = app.state();
      if (!state.live) return;
      chart.update(state);
      facets.refresh();
    },
    Math.max(1000, counted + 5000 - Date.now()),
  );
}

/** @type {import("./view.js").View} */
export const view = {
  own: ["event", "columns", "facets"],

  mount(_root, shell) {
    app = shell;
    results.listen({ open, addCondition: app.addCondition });
    results.adopt();
    detail.listen({ addCondition: app.addCondition });
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
    if (why.first ? event : event !== before.params.get("event")) detail.show(p, why.first);
    results.mark(event);
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
    if (byId("detail").hidden) return false;
    open("");
    return true;
  },

  exported() {
    return { columns: columns.forExport(app.state().params) };
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
      const row = fragment(data).querySelector("tr");
      if (!row) return;
      count();
      // The first event of an empty answer: the table is drawn anew.
      if (!results.add(row)) app.go(() => {}, { replace: true, again: true });
    },
  },
};
