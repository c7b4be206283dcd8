// The most frequent values, offered in the controls when they get the focus.

import { byId } from "./dom.js";
import { current } from "./state.js";

export function offerValues() {
  for (const name of ["verb", "user", "namespace", "resource"]) {
    const input = document.querySelector(`input[name="${name}"]`);
    let asked = "";
    input?.addEventListener("focus", async () => {
      const p = new URLSearchParams({ by: name, limit: "50" });
      const now = current();
      for (const n of ["since", "until"]) if (now.get(n)) p.set(n, now.get(n) ?? "");
      if (asked === String(p)) return;
      asked = String(p);
      try {
        const resp = await fetch("/api/v1/top?" + p);
        if (!resp.ok) throw new Error(String(resp.status));
        const rows = (await resp.json()).rows ?? [];
        byId("values-" + name).replaceChildren(
          ...rows.filter((/** @type {any} */ r) => r.keys[0]).map((/** @type {any} */ r) => new Option(`${r.count.toLocaleString("en")} requests`, r.keys[0])),
        );
      } catch {
        asked = ""; // an offer, no more: the next focus asks again
      }
    });
  }
}
