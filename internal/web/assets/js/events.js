// The Events view: histogram, table, and the open event beside it.

import * as chart from "./chart.js";
import { byId, fragment } from "./dom.js";
import * as detail from "./detail.js";
import * as results from "./results.js";

/** @typedef {import("./view.js").App} App */
/** @typedef {import("./view.js").State} State */

/** @type {App} */
let app;

/** @param {string} id "" closes */
function open(id) {
  app.go((p) => (id ? p.set("event", id) : p.delete("event")));
}

/** @type {import("./view.js").View} */
export const view = {
  own: ["event"],

  mount(_root, shell) {
    app = shell;
    results.listen({ open, addCondition: app.addCondition });
    detail.listen({ addCondition: app.addCondition });
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
    if (!why.first && event !== before.params.get("event")) detail.show(p);
    if (why.asked && !why.first) {
      await results.show(p);
      if (why.signal.aborted) return;
    }
    if (why.asked || why.first) chart.update(state);
    results.mark(event);
  },

  unmount() {},

  key(e) {
    switch (e.key) {
      case "j":
        results.move(1);
        return true;
      case "k":
        results.move(-1);
        return true;
      case "Enter": {
        const row = results.chosen();
        if (!row || (e.target instanceof Element && e.target.closest("a, button, summary"))) return false;
        open(row.dataset.id ?? "");
        return true;
      }
    }
    return false;
  },

  close() {
    if (byId("detail").hidden) return false;
    open("");
    return true;
  },

  live: {
    url(state) {
      const p = new URLSearchParams(state.params);
      for (const name of ["live", "event", "cursor"]) p.delete(name);
      if (results.last()) p.set("after", results.last());
      return "/page/follow?" + p;
    },
    event: "row",
    take(data) {
      const row = fragment(data).querySelector("tr");
      if (!row) return;
      // The first event of an empty answer: the table is drawn anew.
      if (!results.add(row)) app.go(() => {}, { replace: true, again: true });
    },
  },
};
