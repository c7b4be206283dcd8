// The objects that an event recorded, and why it recorded none.

import { ask } from "./api.js";
import { isDryRun } from "./objects-words.js";

/**
 * @typedef {object} Event the columns that the page needs of an event
 * @property {number} id
 * @property {string} time
 * @property {string} level
 * @property {string} verb
 * @property {string} user
 * @property {string} [as_user]
 * @property {string} [agent]
 * @property {string} [uri]
 * @property {string} [api_group]
 * @property {string} [resource]
 * @property {string} [subresource]
 * @property {string} [namespace]
 * @property {string} [name]
 * @property {string} [cluster]
 * @property {string[]} [source_ips]
 * @property {number} [code]
 * @property {string} [reason]
 * @property {string} [message]
 * @property {string} [decision]
 * @property {string} [decision_reason]
 * @property {boolean} [truncated]
 * @property {boolean} final
 * @property {string} [stage]
 * @property {string} [raw]
 * @property {string} [raw_base64]
 */

/**
 * @typedef {object} Recorded what one event says of the object
 * @property {Event} event without its line
 * @property {string} sentence
 * @property {Record<string, any> | null} object as it is after the event
 * @property {boolean} gone it is not there after the event
 * @property {unknown} patch the request's patch
 * @property {string} why there is no object, or what else to know of it
 * @property {boolean} policy the audit policy is why
 */

/** @type {Map<string, Promise<Recorded>>} */
const kept = new Map();
const most = 60;

/** What an event recorded. @param {string} id @returns {Promise<Recorded>} */
export function recorded(id) {
  let p = kept.get(id);
  if (!p) {
    // Not given up when the reader moves on: it is one event, and likely wanted again.
    p = ask("events/" + encodeURIComponent(id)).then(read);
    kept.set(id, p);
    p.catch(() => kept.delete(id));
    const oldest = kept.keys().next().value;
    if (kept.size > most && oldest !== undefined) kept.delete(oldest);
  }
  return p;
}

/** @param {{event: Event, sentence?: string}} a @returns {Recorded} */
function read(a) {
  const { raw = "", raw_base64: base64, ...event } = a.event;
  const line = base64 ? new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))) : raw;
  /** @type {Recorded} */
  const r = { event, sentence: a.sentence ?? "", object: null, gone: false, patch: undefined, why: "", policy: false };
  const { verb, subresource: sub = "" } = event;
  if (!event.final) return { ...r, why: "This is not the end of the request." };
  if ((event.code ?? 0) >= 400) return { ...r, why: "The request failed: nothing was changed." };
  if (isDryRun(event.uri)) return { ...r, why: "A dry run: nothing was changed." };
  if (["exec", "attach", "portforward", "proxy"].includes(sub)) return { ...r, why: "A session in the container: the object did not change." };
  if (verb === "deletecollection") return { ...r, why: "It deleted a collection; the object may have been in it." };
  if (event.truncated) return { ...r, why: "The API server left the bodies out, for the event was larger than --audit-log-truncate-max-event-size." };
  if (event.level === "Metadata") return { ...r, gone: verb === "delete" && !sub, why: "The audit policy recorded this request at level Metadata: who and what, but no bodies.", policy: true };
  /** @type {any} */
  let body;
  try {
    body = parse(line);
  } catch {
    return { ...r, why: "The event's line cannot be read." };
  }
  const answer = full(body?.responseObject);
  if (verb === "delete" && !sub) {
    const going = answer?.metadata?.deletionTimestamp !== undefined;
    return { ...r, object: going ? answer : null, gone: !going };
  }
  if (verb === "patch") r.patch = body?.requestObject ?? undefined;
  if (!["", "status", "resize", "ephemeralcontainers", "approval", "finalize"].includes(sub)) {
    return { ...r, patch: body?.requestObject ?? undefined, why: `A request to the subresource ${sub}: its answer does not show the object.` };
  }
  if (answer) return { ...r, object: answer };
  const level = "The audit policy recorded this request at level Request: ";
  if (verb === "patch") return { ...r, why: level + (r.patch === undefined ? "without the answer, and the request had no body." : "only the patch, not what became of the object."), policy: true };
  const sent = full(body?.requestObject);
  return { ...r, object: sent, why: sent ? level + "this is the object as it was sent." : "No object was recorded.", policy: true };
}

/** @param {string} line */
function parse(line) {
  try {
    return JSON.parse(line, exact);
  } catch (err) {
    if (err instanceof RangeError) return JSON.parse(line); // too deep for a function of ours to see every value
    throw err;
  }
}

/** Whole numbers that a number of JavaScript cannot hold stay as they are. @param {string} _k @param {unknown} v @param {{source?: string}} [context] */
function exact(_k, v, context) {
  return typeof v === "number" && !Number.isSafeInteger(v) && context?.source && /^-?\d+$/.test(context.source) ? BigInt(context.source) : v;
}

/** An object of the API that is no Status and no part of one. @param {any} o */
function full(o) {
  if (o === null || typeof o !== "object" || Array.isArray(o)) return null;
  if (!o.kind || ["Status", "DeleteOptions", "Scale", "Table"].includes(o.kind)) return null;
  return o.metadata !== null && typeof o.metadata === "object" ? o : null;
}

/** The rule that would have recorded bodies. @param {Event} e */
export function policyRule(e) {
  const resources = [e.resource ?? "", ...(e.subresource ? [`${e.resource}/${e.subresource}`] : [])];
  return [
    "- level: RequestResponse",
    '  verbs: ["create", "update", "patch", "delete", "deletecollection"]',
    "  resources:",
    `  - group: ${JSON.stringify(e.api_group ?? "")}`,
    `    resources: ${JSON.stringify(resources)}`,
  ].join("\n");
}
