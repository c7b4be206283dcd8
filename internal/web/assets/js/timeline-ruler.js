// The time ruler's ticks.

import { dayStart, parts, text } from "./time.js";

const day = 86400e3;
export const shortest = 20; // ms: a range is not zoomed further
export const longest = 100 * 365 * day;
const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3, 3600e3, 2 * 3600e3, 3 * 3600e3, 6 * 3600e3, 12 * 3600e3, day, 2 * day, 7 * day, 14 * day, 28 * day, 91 * day, 364 * day];

/**
 * Ticks at round times of the chosen zone.
 * @param {number} from in ms
 * @param {number} to
 * @param {number} most how many there is room for
 * @returns {{t: number, label: string, strong: boolean}[]}
 */
export function ticks(from, to, most) {
  const span = to - from;
  if (!(span > 0)) return [];
  const step = steps.find((s) => span / s <= most) ?? steps[steps.length - 1] * Math.ceil(span / steps[steps.length - 1] / most);
  const out = [];
  let t;
  if (step >= day) {
    const days = Math.round(step / day);
    // Counted from one Monday on, so that ticks stay where they are while panning.
    const first = Math.ceil((from / day - 4) / days) * days + 4;
    for (let d = first - days; (t = dayStart(d * day + day / 2)) < to; d += days) if (t >= from) out.push(t);
  } else {
    let start = dayStart(from);
    for (t = start + Math.floor((from - start) / step) * step; t < to; t += step) {
      const today = dayStart(t);
      if (today !== start) {
        start = today; // a day of 23 or 25 hours has its ticks at round hours too
        t = today;
      }
      if (t >= from) out.push(t);
    }
  }
  return out.map((at, i) => {
    const p = parts(at);
    const midnight = !p.hour && !p.minute && !p.second && !p.ms;
    return { t: at, label: label(at, step, i === 0 || midnight), strong: midnight };
  });
}

/** @param {number} t @param {number} step @param {boolean} withDay */
function label(t, step, withDay) {
  const date = text(t, "day");
  if (step >= day) return step >= 91 * day ? date : date.slice(5);
  const clock = step >= 60e3 ? text(t, "minute").slice(11) : step >= 1e3 ? text(t, "second").slice(11) : text(t, "clock");
  return withDay ? `${date.slice(5)} ${clock}` : clock;
}

/** A length of time in words. @param {number} ms */
export function lengthText(ms) {
  for (const [unit, name] of /** @type {[number, string][]} */ ([[day, "d"], [3600e3, "h"], [60e3, "min"], [1e3, "s"]])) {
    if (ms >= unit * 1.5 || ms === unit) return `${Number((ms / unit).toFixed(ms / unit < 10 ? 1 : 0))} ${name}`;
  }
  return `${Math.round(ms)} ms`;
}
