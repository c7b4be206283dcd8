// The formatted JSON of an event: searching in it, folding.

import { byId } from "./dom.js";

/** Puts the search and the folding to work in a panel that shows an event. @param {HTMLElement} panel */
export function enliven(panel) {
  const json = panel.querySelector(".json");
  const box = panel.querySelector("#json-find");
  if (!(json instanceof HTMLElement) || !(box instanceof HTMLInputElement)) return;
  const found = byId("json-found");
  const fold = byId("json-fold");
  /** @type {Range[]} */
  let ranges = [];
  let at = 0;

  box.hidden = false;
  const folds = () => [...json.querySelectorAll("details")];
  fold.hidden = folds().length === 0;
  fold.addEventListener("click", () => {
    const open = fold.textContent !== "fold all";
    for (const d of folds()) d.open = open;
    fold.textContent = open ? "fold all" : "unfold all";
  });

  function show() {
    globalThis.CSS.highlights?.set("json-found", new Highlight(...ranges));
    const now = ranges[at];
    found.textContent = box instanceof HTMLInputElement && box.value ? (now ? `${at + 1} of ${ranges.length}` : "none") : "";
    globalThis.CSS.highlights?.delete("json-now");
    if (!now) return;
    globalThis.CSS.highlights?.set("json-now", new Highlight(now));
    let el = now.startContainer.parentElement;
    for (; el && el !== json; el = el.parentElement) {
      // What stands in the summary is seen even if it is folded.
      if (el instanceof HTMLDetailsElement && !el.firstElementChild?.contains(now.startContainer)) el.open = true;
    }
    now.startContainer.parentElement?.scrollIntoView({ block: "nearest" });
  }

  box.addEventListener("input", () => {
    ranges = search(json, box.value);
    at = 0;
    show();
  });
  box.addEventListener("keydown", (e) => {
    if (e.key !== "Enter" || !ranges.length) return;
    e.preventDefault();
    at = (at + (e.shiftKey ? ranges.length - 1 : 1)) % ranges.length;
    show();
  });
}

/**
 * Where a text stands, in any case; it may go over several elements.
 * @param {HTMLElement} root
 * @param {string} wanted
 */
function search(root, wanted) {
  /** @type {Range[]} */
  const out = [];
  if (!wanted) return out;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, (n) => (n.parentElement?.closest("small") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT));
  /** @type {{node: Node, start: number}[]} */
  const nodes = [];
  let text = "";
  while (walker.nextNode()) {
    nodes.push({ node: walker.currentNode, start: text.length });
    text += walker.currentNode.nodeValue ?? "";
  }
  /** @param {number} i */
  const place = (i) => {
    let [low, high] = [0, nodes.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (nodes[middle].start <= i) low = middle;
      else high = middle - 1;
    }
    return { node: nodes[low].node, offset: i - nodes[low].start };
  };
  // Case is folded by the pattern: lower case can have another length.
  const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
  for (const m of text.matchAll(pattern)) {
    const [a, b] = [place(m.index), place(m.index + m[0].length - 1)];
    const r = document.createRange();
    r.setStart(a.node, a.offset);
    r.setEnd(b.node, b.offset + 1);
    out.push(r);
    if (out.length >= 2000) break;
  }
  return out;
}
