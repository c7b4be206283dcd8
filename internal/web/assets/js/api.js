// Asking the API.

/** @typedef {import("./view.js").State} State */

/** An error that the server told in words. */
export class APIError extends Error {
  /** @param {string} message @param {string} code @param {number} status */
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/**
 * The error in an answer that is no success.
 * @param {Response} resp
 * @param {string} text
 */
export function problemIn(resp, text) {
  let error = null;
  try {
    error = JSON.parse(text)?.error ?? null;
  } catch {
    // Something between this page and its server has answered.
  }
  return new APIError(error?.message ?? `the answer, with status ${resp.status}, is not one of ktrail's`, error?.code ?? "internal", resp.status);
}

/**
 * Asks for JSON. Throws an APIError with the server's words.
 * @param {string} path such as "histogram"
 * @param {URLSearchParams | null} [p]
 * @param {{signal?: AbortSignal, method?: string, body?: unknown}} [how] body is sent as JSON
 * @returns {Promise<any>}
 */
export async function ask(path, p = null, how = {}) {
  const headers = how.body === undefined ? undefined : { "Content-Type": "application/json" };
  const body = how.body === undefined ? undefined : JSON.stringify(how.body);
  const resp = await fetch(`/api/v1/${path}${p && String(p) ? "?" + p : ""}`, { signal: how.signal, method: how.method ?? "GET", headers, body });
  const text = await resp.text();
  if (!resp.ok) throw problemIn(resp, text);
  try {
    return JSON.parse(text);
  } catch {
    throw new APIError("the answer was broken off", "internal", resp.status);
  }
}

/**
 * A state's filter and range as the API takes them, to add a question's own to.
 * @param {State} state
 * @param {Record<string, string | number>} [more]
 */
export function scopeOf(state, more = {}) {
  const p = new URLSearchParams();
  if (state.cel) p.set("filter", state.cel);
  if (state.since) p.set("since", state.since);
  if (state.until) p.set("until", state.until);
  for (const [name, value] of Object.entries(more)) p.set(name, String(value));
  return p;
}
