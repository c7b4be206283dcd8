// The keyboard: what works in every view. The rest is the view's.

import { byId } from "./dom.js";

/**
 * @typedef {object} Does
 * @property {(e: KeyboardEvent) => boolean} key the view's own keys
 * @property {() => boolean} close what the view has open
 * @property {Record<string, () => void>} shared
 */

/** @param {Does} on */
export function listenKeys(on) {
  const box = /** @type {HTMLInputElement} */ (byId("filter"));
  let going = 0; // until when the key after g counts
  document.addEventListener("keydown", (e) => {
    if (e.metaKey || e.ctrlKey || e.altKey || e.isComposing) return;
    const target = e.target instanceof HTMLElement ? e.target : document.body;
    const typing = target.matches("input:not([type=checkbox]), textarea, select");
    if (e.key === "Escape") {
      // A popover or dialog closes first; the browser does that.
      if (document.querySelector(":popover-open, dialog[open]")) return;
      if (typing) target.blur();
      else on.close();
      return;
    }
    if (typing || document.querySelector("dialog[open]")) return;
    if (going > e.timeStamp) {
      going = 0;
      const a = document.querySelector(`.views a[data-go="${CSS.escape(e.key)}"]`);
      if (a instanceof HTMLElement) {
        e.preventDefault();
        a.click();
        return;
      }
    }
    if (e.key === "g") {
      going = e.timeStamp + 1500; // when it was pressed, however late a busy page comes to it
      return;
    }
    if (e.key === "/") {
      e.preventDefault();
      box.focus();
      box.select();
    } else if (e.key in on.shared) {
      on.shared[e.key]();
    } else if (on.key(e)) {
      e.preventDefault();
    }
  });
}
