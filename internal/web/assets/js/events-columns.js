// Which columns the table has, and in what order: a menu whose state is the URL.

import { byId } from "./dom.js";

/** @typedef {import("./view.js").App} App */

const menu = byId("columns-menu");
const list = byId("columns-list");
const usual = (menu.dataset.default ?? "").split(",");
const items = new Map([...list.querySelectorAll("li")].map((li) => [li.dataset.column ?? "", li]));

/** @type {App} */
let app;

/** The columns that the URL names, or the usual ones. @param {URLSearchParams} p */
export function chosen(p) {
  const named = (p.get("columns") ?? "").split(",").filter((c, i, all) => items.has(c) && all.indexOf(c) === i);
  return named.length ? named : usual;
}

/** The same as columns of a CSV. @param {URLSearchParams} p */
export function forExport(p) {
  return [...new Set(chosen(p).flatMap((c) => (c === "object" ? ["resource", "subresource", "name"] : c === "user" ? ["user", "as_user"] : [c])))];
}

/** @param {string[]} columns */
function set(columns) {
  const text = columns.join(",");
  app.go((p) => (text === usual.join(",") || !text ? p.delete("columns") : p.set("columns", text)), { replace: true });
}

/** @param {App} shell */
export function mount(shell) {
  app = shell;
  byId("columns-button").hidden = false;
  list.onchange = (e) => {
    const column = e.target instanceof Element ? (e.target.closest("li")?.dataset.column ?? "") : "";
    const now = chosen(app.state().params);
    // The last one cannot go: a table has columns.
    set(now.includes(column) ? (now.length > 1 ? now.filter((c) => c !== column) : now) : [...now, column]);
  };
  list.onclick = (e) => {
    const button = e.target instanceof Element ? e.target.closest("button") : null;
    if (!button) return;
    const now = [...chosen(app.state().params)];
    const at = now.indexOf(button.closest("li")?.dataset.column ?? "");
    const to = at + Number(button.dataset.move);
    if (at < 0 || to < 0 || to >= now.length) return;
    [now[at], now[to]] = [now[to], now[at]];
    set(now);
    button.focus(); // its line has moved
  };
  byId("columns-reset").onclick = () => set([]);
}

/** Draws what is chosen. @param {URLSearchParams} p */
export function update(p) {
  const now = chosen(p);
  const focused = document.activeElement;
  const order = [...now, ...[...items.keys()].filter((c) => !now.includes(c))];
  order.forEach((column, i) => {
    const li = items.get(column);
    if (!li) return;
    if (list.children[i] !== li) list.insertBefore(li, list.children[i]);
    const box = li.querySelector("input");
    if (box) box.checked = i < now.length;
    const order2 = li.querySelector(".order");
    if (order2 instanceof HTMLElement) order2.hidden = i >= now.length;
  });
  if (focused instanceof HTMLElement && list.contains(focused)) focused.focus();
}

export function toggle() {
  menu.togglePopover();
}
