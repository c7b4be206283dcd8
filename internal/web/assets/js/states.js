// What a region shows when it has nothing to show: empty, waiting, failed. The
// server's templates make the same ones ("unasked", "failure").

import { element } from "./dom.js";

/**
 * Nothing is there, and what to do about it.
 * @param {string} title
 * @param {...(string | Node)} lines paragraphs
 */
export function empty(title, ...lines) {
  const el = element("div", "empty", "");
  el.append(element("h2", "", title));
  for (const line of lines) {
    const p = element("p", "", "");
    p.append(line);
    el.append(p);
  }
  return el;
}

/** An answer is awaited. It fades in late, so that a quick one does not flicker. @param {string} [text] */
export function loading(text = "Asking…") {
  const el = element("div", "empty waiting", "");
  el.setAttribute("role", "status");
  el.append(element("p", "", text));
  return el;
}

/**
 * An answer did not come.
 * @param {unknown} err
 * @param {() => void} [again] the button that asks once more
 */
export function failure(err, again) {
  const message = err instanceof Error ? err.message : String(err);
  const gone = err instanceof TypeError; // fetch's way to say that nobody answered
  const el = element("div", gone ? "empty error gone" : "empty error", "");
  el.setAttribute("role", "alert");
  el.append(element("h2", "", gone ? "ktrail does not answer" : "This did not come"));
  el.append(element("p", "", gone ? message + ". Is it still running?" : message));
  if (again) {
    const button = element("button", "button", "Try again");
    button.setAttribute("type", "button");
    button.addEventListener("click", again);
    const p = element("p", "", "");
    p.append(button);
    el.append(p);
  }
  return el;
}
