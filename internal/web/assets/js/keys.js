// The keyboard.

import { byId } from "./dom.js";
import { chosen, move } from "./results.js";

/** @param {{open: (id: string) => void, toggleLive: () => void}} on */
export function listenKeys(on) {
  const box = /** @type {HTMLInputElement} */ (byId("filter"));
  document.addEventListener("keydown", (e) => {
    if (e.metaKey || e.ctrlKey || e.altKey || e.isComposing) return;
    const target = e.target instanceof HTMLElement ? e.target : document.body;
    const typing = target.matches("input, textarea, select");
    if (e.key === "Escape") {
      // A popover closes first; the browser does that.
      if (document.querySelector("[popover]:popover-open")) return;
      if (typing) target.blur();
      else if (!byId("detail").hidden) on.open("");
      return;
    }
    if (typing) return;
    switch (e.key) {
      case "/":
        e.preventDefault();
        box.focus();
        box.select();
        break;
      case "j":
        move(1);
        break;
      case "k":
        move(-1);
        break;
      case "Enter": {
        if (target.closest("a, button, summary")) return;
        const row = chosen();
        if (row) on.open(row.dataset.id ?? "");
        break;
      }
      case "l":
        on.toggleLive();
        break;
      case "?":
        byId("help").togglePopover();
        break;
    }
  });
}
