// What a patch says, in lines: where only the patch was recorded, it is all there is.

import { short, visible } from "./objects-key.js";

/** @typedef {{op: "set" | "remove" | "add" | "test" | "move" | "copy" | "note", path: string, value?: unknown, from?: string}} Statement */

const most = 500;
const deepest = 100; // levels of a patch that are read; no object of Kubernetes has as many

/**
 * @param {unknown} patch the request's object
 * @returns {{form: string, list: Statement[], more: number}} more says how many statements of a JSON patch, or fields, are left out
 */
export function readPatch(patch) {
  if (Array.isArray(patch) && patch.every((p) => p !== null && typeof p === "object" && typeof p.op === "string")) {
    return {
      form: "JSON patch",
      more: Math.max(0, patch.length - most),
      list: patch.slice(0, most).map((p) => {
        const path = pointer(plain(p.path));
        if (p.op === "remove") return { op: "remove", path };
        if (p.op === "test") return { op: "test", path, value: p.value };
        if (p.op === "move" || p.op === "copy") return { op: p.op, path, from: pointer(plain(p.from)) };
        return { op: p.op === "add" ? "add" : "set", path, value: p.value };
      }),
    };
  }
  /** @type {Statement[]} */
  const list = [];
  let strategic = false;
  let more = 0;
  const push = (/** @type {Statement} */ s) => (list.length < most ? list.push(s) : more++);
  /** @param {unknown} v @param {string} path @param {number} depth */
  const walk = (v, path, depth) => {
    if (depth > deepest) {
      push({ op: "note", path: path.slice(0, 200) + "…", value: "it goes deeper than can be shown" });
    } else if (v === null) {
      push({ op: "remove", path });
    } else if (Array.isArray(v)) {
      if (v.length && v.every((m) => m !== null && typeof m === "object" && !Array.isArray(m))) {
        v.forEach((m, i) => walk(m, `${path}[${plain(m.name ?? m.type ?? m.mountPath ?? m.containerPort ?? i)}]`, depth + 1));
      } else {
        push({ op: "set", path, value: v });
      }
    } else if (typeof v === "object") {
      const entries = Object.entries(/** @type {object} */ (v));
      if (!entries.length) push({ op: "set", path, value: v });
      for (const [k, inner] of entries) {
        if (k.startsWith("$")) {
          strategic = true;
          if (k === "$patch") push({ op: inner === "delete" ? "remove" : "note", path, value: `$patch: ${plain(inner)}` });
          else if (k.startsWith("$deleteFromPrimitiveList")) push({ op: "remove", path: `${path}.${k.slice(k.indexOf("/") + 1)}`, value: inner });
          continue; // $setElementOrder and $retainKeys only order what is there
        }
        walk(inner, path ? `${path}.${k}` : k, depth + 1);
      }
    } else {
      push({ op: "set", path, value: v });
    }
  };
  walk(patch, "", 0);
  const o = patch !== null && typeof patch === "object" ? patch : {};
  const form = strategic ? "strategic merge patch" : "apiVersion" in o && "kind" in o ? "merge patch or apply" : "merge patch, strategic or not";
  return { form, list: list.filter((s) => !/^(apiVersion|kind)$/.test(s.path)), more };
}

/** A text or number as it is; what cannot be a name as JSON, for it need not be a patch that anyone took. @param {unknown} v */
function plain(v) {
  return typeof v === "string" || typeof v === "number" ? String(v) : jsonText(v);
}

/** /spec/replicas as spec.replicas. @param {string} p */
function pointer(p) {
  if (!p.startsWith("/")) return p;
  return p
    .split("/")
    .slice(1)
    .map((k) => k.replaceAll("~1", "/").replaceAll("~0", "~"))
    .join(".");
}

/** @param {Statement} s */
export function sentence(s) {
  const value = s.value === undefined ? "" : short(jsonText(s.value), 2000);
  const path = visible(s.path) || "the object";
  switch (s.op) {
    case "remove":
      return { sign: "−", path, value };
    case "add":
      return { sign: "+", path, value };
    case "test":
      return { sign: "?", path, value: "must be " + value };
    case "move":
    case "copy":
      return { sign: "→", path, value: `${s.op === "copy" ? "copied" : "moved"} from ${visible(s.from ?? "")}` };
    case "note":
      return { sign: "·", path, value };
    default:
      return { sign: "=", path, value };
  }
}

/** @param {unknown} v */
export function jsonText(v) {
  try {
    return JSON.stringify(v, (_k, inner) => (typeof inner === "bigint" ? String(inner) : inner)) ?? "";
  } catch {
    return "(deeper than can be shown)"; // the browser has no stack for it
  }
}
