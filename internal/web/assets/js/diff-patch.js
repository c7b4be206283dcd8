// What a patch says, in lines: where only the patch was recorded, it is all there is.

import { short, visible } from "./objects-key.js";

/** @typedef {{op: "set" | "remove" | "add" | "test" | "move" | "note", path: string, value?: unknown, from?: string}} Statement */

const most = 500;

/**
 * @param {unknown} patch the request's object
 * @returns {{form: string, list: Statement[]}}
 */
export function readPatch(patch) {
  if (Array.isArray(patch) && patch.every((p) => p !== null && typeof p === "object" && typeof p.op === "string")) {
    return {
      form: "JSON patch",
      list: patch.slice(0, most).map((p) => {
        const path = pointer(String(p.path ?? ""));
        if (p.op === "remove") return { op: "remove", path };
        if (p.op === "test") return { op: "test", path, value: p.value };
        if (p.op === "move" || p.op === "copy") return { op: "move", path, from: pointer(String(p.from ?? "")) };
        return { op: p.op === "add" ? "add" : "set", path, value: p.value };
      }),
    };
  }
  /** @type {Statement[]} */
  const list = [];
  let strategic = false;
  /** @param {unknown} v @param {string} path */
  const walk = (v, path) => {
    if (list.length >= most) return;
    if (v === null) {
      list.push({ op: "remove", path });
    } else if (Array.isArray(v)) {
      if (v.length && v.every((m) => m !== null && typeof m === "object" && !Array.isArray(m))) {
        v.forEach((m, i) => walk(m, `${path}[${String(m.name ?? m.type ?? m.mountPath ?? m.containerPort ?? i)}]`));
      } else {
        list.push({ op: "set", path, value: v });
      }
    } else if (typeof v === "object") {
      const entries = Object.entries(/** @type {object} */ (v));
      if (!entries.length) list.push({ op: "set", path, value: v });
      for (const [k, inner] of entries) {
        if (k.startsWith("$")) {
          strategic = true;
          if (k === "$patch") list.push({ op: inner === "delete" ? "remove" : "note", path, value: `$patch: ${String(inner)}` });
          else if (k.startsWith("$deleteFromPrimitiveList")) list.push({ op: "remove", path: `${path}.${k.slice(k.indexOf("/") + 1)}`, value: inner });
          continue; // $setElementOrder and $retainKeys only order what is there
        }
        walk(inner, path ? `${path}.${k}` : k);
      }
    } else {
      list.push({ op: "set", path, value: v });
    }
  };
  walk(patch, "");
  return { form: strategic ? "strategic merge patch" : "merge patch or apply", list: list.filter((s) => !/^(apiVersion|kind)$/.test(s.path)) };
}

/** /spec/replicas as spec.replicas. @param {string} p */
function pointer(p) {
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
      return { sign: "→", path, value: "from " + visible(s.from ?? "") };
    case "note":
      return { sign: "·", path, value };
    default:
      return { sign: "=", path, value };
  }
}

/** @param {unknown} v */
function jsonText(v) {
  return JSON.stringify(v, (_k, inner) => (typeof inner === "bigint" ? String(inner) : inner)) ?? "";
}
