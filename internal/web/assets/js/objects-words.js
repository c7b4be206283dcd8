// What the history says of an event.

import { element } from "./dom.js";
import { short } from "./objects-key.js";

/** @typedef {import("./diff-bodies.js").Event} Event */

/**
 * Whether nothing was to be kept, as the server finds it (internal/query/class.go).
 * @param {string} [uri]
 */
export function isDryRun(uri = "") {
  return /^[^?]*\?(?:.*&)?(?:d|%64)(?:r|%72)(?:y|%79)(?:R|%52)(?:u|%75)(?:n|%6[eE])=(?:A|%41)(?:l|%6[cC])(?:l|%6[cC])(?:&|$)/s.test(uri);
}

/** Whether the object is another one after the event. @param {Event} e */
export function counts(e) {
  return e.final && (e.code ?? 0) < 400 && !isDryRun(e.uri) && e.verb !== "deletecollection" && !["exec", "attach", "portforward", "proxy"].includes(e.subresource ?? "");
}

/** Whether nothing was before the event: an apply, or an update, that makes the object is answered with 201. @param {Event} e */
export function creates(e) {
  return !e.subresource && (e.verb === "create" || (e.code === 201 && (e.verb === "patch" || e.verb === "update")));
}

/** @param {Event} e */
export function isStatus(e) {
  return e.subresource === "status";
}

/** Whether an event may have recorded the object. @param {Event} e */
export function bodied(e) {
  const whole = ["", "status", "resize", "ephemeralcontainers", "approval", "finalize"].includes(e.subresource ?? "");
  return whole && !e.truncated && (e.level === "RequestResponse" || (e.level === "Request" && e.verb !== "patch"));
}

/** @param {Event} e */
export function who(e) {
  return e.as_user ? `${e.user} as ${e.as_user}` : e.user || "nobody";
}

/** @param {Event} e */
export function verbClass(e) {
  return e.verb === "delete" || e.verb === "deletecollection" ? "is-delete" : creates(e) ? "is-create" : "is-change";
}

/** How it ended, in a sign and in words. @param {Event} e */
export function outcome(e) {
  const code = e.code ?? 0;
  const el = element("span", code >= 400 ? "out bad" : "out", code >= 400 ? `${code === 401 || code === 403 ? "✕ denied" : code < 500 ? "○ failed" : "▽ server error"} ${code}` : "");
  if (e.reason) el.title = short(e.reason);
  return el;
}

/** The end of a path, which tells most. @param {string} p */
export function shortPath(p) {
  for (const end of [p, /[^.]+\.[^.]+$/.exec(p)?.[0] ?? p, /[^.]+$/.exec(p)?.[0] ?? p]) if (end.length <= 22) return end;
  return "…" + p.slice(-21);
}

/**
 * The page of a user in the same range, of all that the user did: a filter that
 * led here would hide the rest.
 * @param {import("./view.js").App} app
 * @param {string} user
 */
export function actorURL(app, user) {
  const dots = user === "." || user === ".."; // browsers take them out of a path
  const change = (/** @type {URLSearchParams} */ p) => {
    for (const n of [...p.keys()]) if (!["since", "until", "live"].includes(n)) p.delete(n);
    if (dots) p.set("actor", user);
  };
  return app.link("actors", change, dots ? undefined : "/actors/" + encodeURIComponent(user));
}

/** @param {string} text @param {string} url */
export function link(text, url) {
  const a = document.createElement("a");
  a.href = url;
  const inner = document.createElement("bdi");
  inner.textContent = text;
  a.append(inner);
  return a;
}
