// The map of verbs and resources by keyboard: one stop for Tab, arrows within.

/** @returns {HTMLAnchorElement[]} */
function links() {
  return [...document.querySelectorAll("#heat td a")].filter((a) => a instanceof HTMLAnchorElement);
}

/** Makes the first cell the one that Tab reaches. */
export function rove() {
  links().forEach((a, i) => (a.tabIndex = i === 0 ? 0 : -1));
}

/** @param {Element} a its row and column */
function place(a) {
  const cell = /** @type {HTMLTableCellElement} */ (a.closest("td"));
  const row = /** @type {HTMLTableRowElement} */ (cell.parentElement);
  return { x: cell.cellIndex, y: row.rowIndex };
}

/** Moves to the next cell with a number. @param {string} key @returns {boolean} whether the focus was in the map */
export function moveInHeat(key) {
  const from = document.activeElement;
  if (!(from instanceof HTMLAnchorElement) || !from.closest("#heat td")) return false;
  const here = place(from);
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key] ?? [0, 0];
  let best = null;
  let least = Infinity;
  for (const a of links()) {
    const { x, y } = place(a);
    const along = (x - here.x) * dx + (y - here.y) * dy;
    const aside = Math.abs((x - here.x) * dy) + Math.abs((y - here.y) * dx);
    if (along <= 0 || (dx !== 0 && aside > 0)) continue;
    // Up and down end at the nearest number of the next row that has any.
    const cost = along * 100 + aside;
    if (cost < least) [best, least] = [a, cost];
  }
  if (!best) return true;
  from.tabIndex = -1;
  best.tabIndex = 0;
  best.focus();
  return true;
}
