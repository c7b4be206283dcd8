// Differences between two lists of lines, and between two lines.

/** @typedef {{kind: "same" | "removed" | "added", a: number, b: number}} Step a line of the one or the other, or of both */

// A difference of more edits than this is told as everything removed and added:
// the search for a better one takes time with their square.
const mostEdits = 3000;

/**
 * The shortest way from one list to the other (Myers, "An O(ND) Difference
 * Algorithm and Its Variations", 1986).
 * @param {string[]} a
 * @param {string[]} b
 * @returns {Step[]}
 */
export function diffLines(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA--;
    endB--;
  }
  /** @type {Step[]} */
  const out = [];
  for (let i = 0; i < start; i++) out.push({ kind: "same", a: i, b: i });
  for (const s of middle(a.slice(start, endA), b.slice(start, endB))) out.push({ kind: s.kind, a: s.a + start, b: s.b + start });
  for (let i = endA; i < a.length; i++) out.push({ kind: "same", a: i, b: i - endA + endB });
  return out;
}

/** @param {string[]} a @param {string[]} b @returns {Step[]} */
function middle(a, b) {
  const most = Math.min(a.length + b.length, mostEdits);
  /** @type {Int32Array[]} */
  const trail = [];
  const reach = new Int32Array(2 * most + 3);
  const at = most + 1;
  for (let d = 0; d <= most; d++) {
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && reach[at + k - 1] < reach[at + k + 1]) ? reach[at + k + 1] : reach[at + k - 1] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      reach[at + k] = x;
      if (x >= a.length && x - k >= b.length) return back(a, b, trail, d);
    }
    trail.push(reach.slice(at - d - 1, at + d + 2));
  }
  return [...a.map((_, i) => /** @type {Step} */ ({ kind: "removed", a: i, b: 0 })), ...b.map((_, i) => /** @type {Step} */ ({ kind: "added", a: a.length, b: i }))];
}

/** The way back from the end. @param {string[]} a @param {string[]} b @param {Int32Array[]} trail @param {number} edits @returns {Step[]} */
function back(a, b, trail, edits) {
  /** @type {Step[]} */
  const out = [];
  let [x, y] = [a.length, b.length];
  for (let d = edits; d > 0; d--) {
    const reach = trail[d - 1];
    const get = (/** @type {number} */ k) => reach[k + d] ?? 0; // the middle of a round's copy is its diagonal 0
    const k = x - y;
    const down = k === -d || (k !== d && get(k - 1) < get(k + 1));
    const from = down ? k + 1 : k - 1;
    const px = get(from);
    const py = px - from;
    while (x > px + (down ? 0 : 1) && y > py + (down ? 1 : 0)) out.push({ kind: "same", a: --x, b: --y });
    if (down) out.push({ kind: "added", a: x, b: --y });
    else out.push({ kind: "removed", a: --x, b: y });
  }
  while (x > 0 && y > 0) out.push({ kind: "same", a: --x, b: --y });
  return out.reverse();
}

/**
 * What differs in the middle of two lines: [start, end of a, end of b], to whole words.
 * @param {string} a
 * @param {string} b
 * @returns {[number, number, number]}
 */
export function within(a, b) {
  const word = /[\p{L}\p{N}]/u;
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  const half = /[\ud800-\udfff]/; // of a character that takes two places
  while (start > 0 && (word.test(a[start - 1]) || half.test(a[start - 1]))) start--;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA--;
    endB--;
  }
  while (endA < a.length && (word.test(a[endA]) || half.test(a[endA]))) {
    endA++;
    endB++;
  }
  return [start, endA, endB];
}

/**
 * @typedef {{kind: "same" | "change" | "fold", steps: Step[], changed: number}} Block steps that belong together
 */

/**
 * Groups steps into changes with some lines around them, and folds in between.
 * @param {Step[]} steps
 * @param {number} around lines that are kept on either side of a change
 * @returns {Block[]}
 */
export function blocks(steps, around = 3) {
  /** @type {Block[]} */
  const out = [];
  let i = 0;
  while (i < steps.length) {
    const change = steps[i].kind !== "same";
    let j = i;
    while (j < steps.length && (steps[j].kind !== "same") === change) j++;
    const run = steps.slice(i, j);
    if (change) {
      out.push({ kind: "change", steps: run, changed: run.length });
    } else {
      const head = i === 0 ? 0 : around;
      const tail = j === steps.length ? 0 : around;
      if (run.length <= head + tail + 1) {
        out.push({ kind: "same", steps: run, changed: 0 });
      } else {
        if (head) out.push({ kind: "same", steps: run.slice(0, head), changed: 0 });
        out.push({ kind: "fold", steps: run.slice(head, run.length - tail), changed: 0 });
        if (tail) out.push({ kind: "same", steps: run.slice(run.length - tail), changed: 0 });
      }
    }
    i = j;
  }
  return out;
}
