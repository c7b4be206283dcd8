// Times as people read them, in UTC or in the browser's own zone.
//
// The server renders <time datetime="…Z" data-form="second">; localize rewrites
// such elements when they enter the page and when the zone is switched. Modules
// that draw by themselves ask text(). The choice is the reader's, not the
// page's: it is kept in the browser, so that a link shows each reader their own.

const key = "ktrail.zone";

/** @typedef {"day" | "clock" | "second" | "minute" | "full"} Form */

/** @type {Set<() => void>} */
const listeners = new Set();

let local = stored() === "local";

function stored() {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // no storage: the choice lasts as long as the page
  }
}

export function isLocal() {
  return local;
}

/** @param {boolean} on local time instead of UTC */
export function setLocal(on) {
  local = on;
  try {
    localStorage.setItem(key, on ? "local" : "utc");
  } catch {
    // As above.
  }
  changed();
}

/** @param {() => void} f called after the zone was switched, here or in another tab */
export function onZone(f) {
  listeners.add(f);
}

function changed() {
  localize(document);
  for (const f of listeners) f();
}

addEventListener("storage", (e) => {
  if (e.key !== key && e.key !== null) return;
  local = stored() === "local";
  changed();
});

/** The zone's short name at a time: UTC, or UTC+2. @param {number} [ms] */
export function zoneName(ms = Date.now()) {
  const offset = local ? -new Date(ms).getTimezoneOffset() : 0;
  if (!offset) return local ? "UTC+0" : "UTC";
  const [h, m] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60];
  return `UTC${offset < 0 ? "−" : "+"}${h}${m ? ":" + String(m).padStart(2, "0") : ""}`;
}

/** @param {number} n @param {number} [width] */
function pad(n, width = 2) {
  return String(n).padStart(width, "0");
}

/** What a clock in the chosen zone shows. @param {number} ms */
export function parts(ms) {
  // Reading the shifted time as UTC gives the local clock's digits.
  const d = new Date(local ? ms - new Date(ms).getTimezoneOffset() * 60000 : ms);
  return {
    year: d.getUTCFullYear(), month: d.getUTCMonth() + 1, day: d.getUTCDate(), weekday: d.getUTCDay(),
    hour: d.getUTCHours(), minute: d.getUTCMinutes(), second: d.getUTCSeconds(), ms: d.getUTCMilliseconds(),
  };
}

/** The start of the day of a time in the chosen zone. @param {number} ms */
export function dayStart(ms) {
  const d = new Date(ms);
  if (local) return new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime();
  return Date.UTC(d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate());
}

/**
 * A time as text in the chosen zone.
 * @param {number} ms since 1970
 * @param {Form} form
 * @param {string} [micros] the microseconds' six digits, which a number of ms has no room for
 */
export function text(ms, form, micros) {
  const p = parts(ms);
  const day = `${pad(p.year, 4)}-${pad(p.month)}-${pad(p.day)}`;
  const minute = `${pad(p.hour)}:${pad(p.minute)}`;
  const second = `${minute}:${pad(p.second)}`;
  switch (form) {
    case "day":
      return day;
    case "clock":
      return `${second}.${pad(p.ms, 3)}`;
    case "minute":
      return `${day} ${minute}`;
    case "full":
      return `${day} ${second}.${micros ?? pad(p.ms, 3)} ${zoneName(ms)}`;
    default:
      return `${day} ${second}`;
  }
}

/**
 * A <time> element that follows the zone.
 * @param {string | number} at as the API tells it, or ms since 1970
 * @param {Form} form
 */
export function timeElement(at, form) {
  const el = document.createElement("time");
  el.dateTime = typeof at === "number" ? new Date(at).toISOString() : at;
  el.dataset.form = form;
  write(el);
  return el;
}

/** @param {HTMLTimeElement} el */
function write(el) {
  const ms = Date.parse(el.dateTime);
  if (Number.isNaN(ms)) return;
  el.textContent = text(ms, /** @type {Form} */ (el.dataset.form ?? "second"));
  el.title = text(ms, "full", /\.(\d{6})/.exec(el.dateTime)?.[1]);
}

/**
 * Writes all times below a node in the chosen zone, and the zone's name where
 * an element has data-zone.
 * @param {ParentNode} root
 */
export function localize(root) {
  for (const el of root.querySelectorAll("time[data-form]")) write(/** @type {HTMLTimeElement} */ (el));
  for (const el of root.querySelectorAll("[data-zone]")) el.textContent = zoneName();
}

/**
 * What was typed as a time, as the server reads it: in UTC. Lengths of time
 * ("2h") mean the same everywhere and stay.
 * @param {string} typed
 */
export function toServer(typed) {
  if (!local) return typed;
  const now = Date.now();
  if (typed === "today") return new Date(dayStart(now)).toISOString();
  if (typed === "yesterday") return new Date(dayStart(dayStart(now) - 1)).toISOString();
  const m = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3})\d*)?)?)?$/.exec(typed);
  if (!m) return typed;
  return new Date(Number(m[1]), Number(m[2]) - 1, Number(m[3]), Number(m[4] ?? 0), Number(m[5] ?? 0), Number(m[6] ?? 0), Number((m[7] ?? "0").padEnd(3, "0"))).toISOString();
}

/** A time of the URL as the field shows it: one without a zone is UTC there. @param {string} kept */
export function toField(kept) {
  if (!local) return kept;
  const at = inURL(kept);
  if (Number.isNaN(at)) return kept;
  return text(at, "second").replace(" ", "T") + (/\.\d*[1-9]/.test(kept) ? "." + pad(at % 1000, 3) : "");
}

/** A time of the URL in ms since 1970; NaN for a length of time. @param {string} kept */
function inURL(kept) {
  const day = 86400000;
  const today = Math.floor(Date.now() / day) * day;
  if (kept === "today") return today;
  if (kept === "yesterday") return today - day;
  const m = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)Z?)?$/.exec(kept);
  return m ? Date.parse(`${m[1]}T${m[2] ?? "00:00"}Z`) : NaN;
}
