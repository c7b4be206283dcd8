// What happened to objects over time, as the timeline draws it.

import { depths, path } from "./objects-key.js";
import { isDryRun } from "./objects-words.js";

/**
 * @typedef {import("./objects-key.js").Key} Key
 * @typedef {[bin: number, cls: string, outcome: string, count: number, id: number, time: number]} WireMark time in microseconds
 * @typedef {{key: Key, marks: WireMark[] | null}} WireLane
 * @typedef {{lane: Lane, i: number, j: number}} Part marks i to j of a lane
 * @typedef {{time: number, id: number}} Removal a deletion of the collection that an object may have been in
 * @typedef {{from: number, to: number, born: boolean, gone: boolean, lost: Removal | null}} Span of life; without born or gone it is open at that end; lost if nothing was written since its collection was deleted
 */

export const classes = ["create", "change", "delete", "read", "exec", "other"];
export const outcomes = ["ok", "denied", "failed", "error"];

/** Class and outcome as one number. @param {string} cls @param {string} outcome */
export function kindOf(cls, outcome) {
  const [c, o] = [classes.indexOf(cls), outcomes.indexOf(outcome)];
  return (c < 0 ? 5 : c) * 4 + (o < 0 ? 0 : o);
}

/** @param {number} kind */
export function className(kind) {
  return classes[kind >> 2];
}

/** @param {number} kind */
export function outcomeName(kind) {
  return outcomes[kind & 3];
}

/** One object's marks in order of time. Arrays of numbers, for there may be a million. */
export class Lane {
  /** @param {Key} key @param {number} [room] */
  constructor(key, room = 4) {
    this.key = key;
    this.n = 0;
    this.time = new Float64Array(room); // ms since 1970
    this.id = new Float64Array(room); // of the last event in the mark
    this.count = new Uint32Array(room);
    this.kind = new Uint8Array(room);
    this.bin = new Int32Array(room); // whose last event of its kind it is; -1 if it is one event
  }

  /** @param {WireLane} w */
  static from(w) {
    const marks = w.marks ?? [];
    const lane = new Lane(w.key, Math.max(4, marks.length));
    for (const m of marks) lane.push(m[5] / 1000, kindOf(m[1], m[2]), m[3], m[4], m[0]);
    return lane;
  }

  /** Adds a mark; one that is late goes to its place. @param {number} time @param {number} kind @param {number} count @param {number} id @param {number} [bin] */
  push(time, kind, count, id, bin = -1) {
    if (this.n === this.time.length) this.grow();
    let i = this.n;
    if (i && this.time[i - 1] > time) {
      i = this.find(time);
      for (const a of [this.time, this.id, this.count, this.kind, this.bin]) a.copyWithin(i + 1, i, this.n);
    }
    this.time[i] = time;
    this.kind[i] = kind;
    this.count[i] = count;
    this.id[i] = id;
    this.bin[i] = bin;
    this.n++;
  }

  grow() {
    const to = this.n * 2;
    /** @template {Float64Array | Uint32Array | Uint8Array | Int32Array} T @param {T} a @returns {T} */
    const larger = (a) => {
      const b = /** @type {T} */ (new /** @type {any} */ (a.constructor)(to));
      b.set(a);
      return b;
    };
    this.time = larger(this.time);
    this.id = larger(this.id);
    this.count = larger(this.count);
    this.kind = larger(this.kind);
    this.bin = larger(this.bin);
  }

  /** The first mark at or after a time. @param {number} t */
  find(t) {
    let [low, high] = [0, this.n];
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.time[mid] < t) low = mid + 1;
      else high = mid;
    }
    return low;
  }
}

/**
 * Lives from marks: a successful write says that the object was there, one that
 * deletes that it was there until then. What is deleted may stay for a while: a
 * pod until its kubelet deletes it once more, others until their finalizers are
 * taken off. Nothing but a creation brings it back, so the last write counts; and
 * what is created was not there, so that a life that nothing ended is known up to
 * its last write. The deletion of a collection names no object: it may have been
 * of others, which a later write shows. A mark is the last event of its bin: where
 * several creations are in the bin of an object's first marks, those are no sign
 * of a life before.
 * @param {Part[]} list
 * @param {Lane | null} [removals] deletions of the collection
 * @returns {Span[]}
 */
export function spansOf(list, removals) {
  /** @type {Span[]} */
  const spans = [];
  /** @type {Span | null} */
  let open = null;
  let seen = -Infinity; // the last write
  /** @type {{lane: Lane, bin: number, time: number} | null} */
  let first = null; // write, of them all
  const begin = (/** @type {number} */ from, /** @type {boolean} */ born) => {
    open = { from, to: Infinity, born, gone: false, lost: null };
    spans.push(open);
    return open;
  };
  let next = 0; // of the removals
  const lose = (/** @type {number} */ until) => {
    for (; removals && next < removals.n && removals.time[next] < until; next++) {
      const time = removals.time[next];
      if (open && !open.gone && time > seen) open.lost ??= { time, id: removals.id[next] };
    }
  };
  for (const { lane, i, j } of list) {
    for (let k = i; k < j; k++) {
      const kind = lane.kind[k];
      if ((kind & 3) !== 0 || kind >> 2 > 2) continue;
      const t = lane.time[k];
      lose(t);
      const now = /** @type {Span | null} */ (open);
      first ??= { lane, bin: lane.bin[k], time: t };
      if (kind >> 2 === 0) {
        const early = first.lane === lane && first.bin === lane.bin[k] && first.bin >= 0;
        if (now && early && lane.count[k] > 1) now.from = first.time;
        if (now && !now.gone) Object.assign(now, { to: now.lost?.time ?? seen, gone: true });
        begin(t, true);
        seen = t;
        continue;
      }
      seen = t;
      const s = now ?? begin(-Infinity, false);
      s.gone ||= kind >> 2 === 2;
      s.to = s.gone ? t : Infinity;
      s.lost = null;
    }
  }
  lose(Infinity);
  return spans;
}

/** One row: what was asked for the range that is shown, and what is known around it from a wider one. */
export class Row {
  /** @param {string} id @param {Key} key @param {Map<string, Lane>} [removals] deletions of collections, by their kinds' paths */
  constructor(id, key, removals = new Map()) {
    this.id = id;
    this.kind = path(key, depths.kind);
    this.told = removals;
    this.key = key;
    /** @type {Lane | null} */
    this.fine = null;
    /** @type {Lane | null} */
    this.base = null;
    // Where fine is the truth, in ms.
    this.from = -Infinity;
    this.to = Infinity;
    /** @type {{at: string, spans: Span[]} | null} */
    this.life = null;
  }

  /** Deletions of the object's collection; it gets a lane with the first. */
  get removals() {
    return this.told.get(this.kind) ?? null;
  }

  /** The marks from one time up to another, in order. @param {number} from @param {number} to @returns {Part[]} */
  parts(from, to) {
    const { fine, base } = this;
    if (!base || base === fine) return fine ? [{ lane: fine, i: fine.find(from), j: fine.find(to) }] : [];
    /** @type {Part[]} */
    const list = [];
    const add = (/** @type {Lane} */ lane, /** @type {number} */ a, /** @type {number} */ b) => {
      if (a < b) list.push({ lane, i: lane.find(a), j: lane.find(b) });
    };
    add(base, from, Math.min(to, this.from));
    if (fine) add(fine, Math.max(from, this.from), Math.min(to, this.to));
    add(base, Math.max(from, this.to), to);
    return list;
  }

  spans() {
    if (!this.key.name) return []; // requests without a name are about no one object
    const at = [this.fine, this.base, this.removals].map((lane) => lane?.n ?? 0).join();
    if (this.life?.at !== at) this.life = { at, spans: spansOf(this.parts(-Infinity, Infinity), this.removals) };
    return this.life.spans;
  }

  /** The lane that new events go to. */
  live() {
    this.fine ??= new Lane(this.key);
    this.life = null;
    return this.fine;
  }
}

/** What a removal means for an object, in words: a request of its own may have deleted it that the filter hides. @param {Span} span */
export function lostWords(span) {
  return span.gone ? "deleted, maybe with its collection" : "may have been deleted with its collection";
}

/**
 * What a mark is, in words, without when and by whom.
 * @param {number} kind
 * @param {number} count
 */
export function words(kind, count) {
  const done = { create: "created", change: "changed", delete: "deleted", read: "read", exec: "exec or the like", other: "other request, or a dry run" }[className(kind)] ?? "";
  const how = { ok: "", denied: "denied", failed: "failed", error: "server error" }[outcomeName(kind)];
  return `${done}${how ? " – " + how : ""}${count > 1 ? ` ×${count.toLocaleString("en")}` : ""}`;
}

/**
 * An event's class and outcome, as the server finds them (internal/query/class.go).
 * @param {{verb: string, subresource?: string, code?: number, api_group?: string, uri?: string}} e
 */
export function kindOfEvent(e) {
  const [sub, code] = [e.subresource ?? "", e.code ?? 0];
  const outcome = code < 400 ? 0 : code === 401 || code === 403 ? 1 : code < 500 ? 2 : 3;
  let cls = 2;
  if (["exec", "attach", "portforward", "proxy"].includes(sub)) cls = 4;
  else if (["get", "list", "watch"].includes(e.verb)) cls = 3;
  else if (!["create", "update", "patch", "delete", "deletecollection"].includes(e.verb) || ["authentication.k8s.io", "authorization.k8s.io"].includes(e.api_group ?? "") || isDryRun(e.uri)) cls = 5;
  else if ((["update", "patch"].includes(e.verb) && code !== 201) || sub) cls = 1;
  else if (["create", "update", "patch"].includes(e.verb)) cls = 0;
  return cls * 4 + outcome;
}
