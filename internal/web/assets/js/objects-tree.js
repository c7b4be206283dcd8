// The tree cluster → namespace → kind → name. A level is asked for when it is opened.

import { element } from "./dom.js";
import { depths, kind, path, visible } from "./objects-key.js";

/** @typedef {import("./objects-key.js").Key} Key */
/** @typedef {{key: Key, count: number, writes: number, failed: number}} WireNode */
/** @typedef {{nodes: WireNode[] | null, more?: boolean}} Answer */

/**
 * @typedef {object} Node
 * @property {Key} key
 * @property {number} depth
 * @property {string} id
 * @property {WireNode} sums
 * @property {Node | null} parent
 * @property {Node[] | null} children null if they were not asked for
 * @property {boolean} more there are more than were asked for
 * @property {boolean} open
 * @property {HTMLElement} el its own line
 */

/**
 * @typedef {object} On
 * @property {(under: Key, depth: number, limit: number, signal: AbortSignal) => Promise<Answer>} ask
 * @property {(key: Key, depth: number) => void} pick
 * @property {(err: unknown) => void} fail
 */

const page = 200;
const most = 5000; // children that the server tells of
const nothing = { cluster: "", namespace: "", api_group: "", resource: "", name: "" };

export class Tree {
  /** @param {HTMLElement} root @param {On} on */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    /** @type {Node[]} */
    this.top = [];
    this.topMore = false;
    /** @type {Set<string>} */
    this.opened = new Set();
    this.limits = new Map();
    this.chosen = "";
    /** @type {Node | null} */
    this.focus = null;
    this.typed = { text: "", at: 0 };
    this.asking = new AbortController();
    root.setAttribute("role", "tree");
    root.setAttribute("aria-label", "Objects by cluster, namespace and kind");
    root.addEventListener("keydown", (e) => this.key(e));
    root.addEventListener("click", (e) => this.click(e));
  }

  /**
   * Asks anew for all that is open.
   * @param {AbortSignal | null} signal
   * @param {boolean} search the tree is searched: what was found is opened as far as there is room
   */
  async load(signal, search) {
    this.asking.abort();
    this.asking = new AbortController();
    const both = signal ? AbortSignal.any([signal, this.asking.signal]) : this.asking.signal;
    const top = await this.level(null, both);
    let room = search ? 60 : 30;
    const fill = async (/** @type {Node[]} */ nodes) => {
      room -= nodes.length;
      for (const n of nodes) {
        if (n.depth === depths.object) continue;
        // One cluster, or what a search found, is opened without being asked to.
        const obvious = search ? room > 0 && nodes.length <= 12 : nodes.length === 1 && n.depth === depths.cluster;
        if (!this.opened.has(n.id) && (!obvious || this.opened.has("-" + n.id))) continue;
        n.children = await this.level(n, both);
        n.open = true;
        await fill(n.children);
      }
    };
    await fill(top);
    if (both.aborted) return;
    const had = this.root.contains(document.activeElement);
    const focus = this.focus?.id;
    this.top = top;
    this.root.replaceChildren(...top.map((n) => this.draw(n)));
    if (this.topMore) this.root.append(this.more(null));
    this.focus = this.all().find((n) => n.id === focus) ?? null;
    this.mark(this.chosen);
    if (had) this.focus?.el.focus();
  }

  /** The children of a node. @param {Node | null} parent @param {AbortSignal} signal @returns {Promise<Node[]>} */
  async level(parent, signal) {
    const limit = this.limits.get(parent?.id ?? "") ?? page;
    const a = await this.on.ask(parent?.key ?? nothing, parent?.depth ?? 0, limit, signal);
    const depth = (parent?.depth ?? 0) + 1;
    if (parent) parent.more = a.more ?? false;
    else this.topMore = a.more ?? false;
    return (a.nodes ?? []).map((sums) => ({ key: sums.key, depth, id: depth + ":" + path(sums.key, depth), sums, parent, children: null, more: false, open: false, el: element("div", "", "") }));
  }

  /** All nodes in sight, in order. @returns {Node[]} */
  all() {
    /** @type {Node[]} */
    const out = [];
    const walk = (/** @type {Node[]} */ nodes) => {
      for (const n of nodes) {
        out.push(n);
        if (n.open) walk(n.children ?? []);
      }
    };
    walk(this.top);
    return out;
  }

  /**
   * A node and what is open below it. Items are siblings to the eyes of a screen
   * reader, their level is told: so an item's name is its own text and no more.
   * @param {Node} n
   */
  draw(n) {
    const box = element("div", "node", "");
    const { count, writes, failed } = n.sums;
    const name = label(n);
    const el = item(n.depth, n.depth < depths.object ? (n.open ? "▾" : "▸") : "");
    el.dataset.id = n.id;
    const said = ` requests, ${writes.toLocaleString("en")} changes, ${failed.toLocaleString("en")} failed`;
    el.append(element("bdi", name.odd ? "node-name odd" : "node-name", name.text), element("span", "node-count", count.toLocaleString("en")), element("span", "sr", said));
    el.title = `${name.text}\n${count.toLocaleString("en")}${said}`;
    box.append(el);
    if (n.depth < depths.object) {
      el.setAttribute("aria-expanded", String(n.open));
      if (n.open) {
        box.append(...(n.children ?? []).map((c) => this.draw(c)));
        if (n.more) box.append(this.more(n));
      }
    }
    n.el = el;
    return box;
  }

  /** @param {Node | null} parent */
  more(parent) {
    const el = item((parent?.depth ?? 0) + 1, "");
    el.classList.add("more");
    if ((this.limits.get(parent?.id ?? "") ?? page) < most) {
      el.dataset.more = parent?.id ?? "";
      el.append("Show more…");
    } else {
      el.append(`The first ${most.toLocaleString("en")}. Find others by name.`);
    }
    return el;
  }

  /** Marks the node that is chosen and makes one node the one that Tab reaches. @param {string} id */
  mark(id) {
    this.chosen = id;
    const all = this.all();
    const focus = this.focus && all.includes(this.focus) ? this.focus : (all.find((n) => n.id === id) ?? all[0] ?? null);
    this.focus = focus;
    for (const n of all) {
      n.el.setAttribute("aria-selected", String(n.id === id));
      n.el.tabIndex = n === focus ? 0 : -1;
    }
  }

  /** Remembers that a node is open, before the tree is loaded. @param {Key} key @param {number} depth */
  reveal(key, depth) {
    for (let d = 1; d < Math.min(depth, depths.object); d++) this.opened.add(d + ":" + path(key, d));
  }

  /** @param {Node} n @param {boolean} open */
  async toggle(n, open) {
    if (n.depth === depths.object || n.open === open) return;
    if (open) {
      this.opened.add(n.id);
      this.opened.delete("-" + n.id);
      n.el.setAttribute("aria-busy", "true");
      try {
        n.children ??= await this.level(n, this.asking.signal);
      } catch (err) {
        n.el.removeAttribute("aria-busy");
        if (!this.asking.signal.aborted) this.on.fail(err);
        return;
      }
    } else {
      this.opened.delete(n.id);
      this.opened.add("-" + n.id);
    }
    n.open = open;
    const old = n.el;
    const had = old.contains(document.activeElement);
    old.parentElement?.replaceWith(this.draw(n));
    if (had) this.move(n);
    else this.mark(this.chosen);
  }

  /** @param {Node} n */
  move(n) {
    this.focus = n;
    this.mark(this.chosen);
    n.el.focus();
    n.el.scrollIntoView({ block: "nearest" });
  }

  /** @param {string | undefined} id @param {string | undefined} more */
  async act(id, more) {
    if (more !== undefined) {
      const had = this.limits.get(more) ?? page;
      this.limits.set(more, Math.min(most, had * 5));
      const n = this.all().find((x) => x.id === more) ?? null;
      try {
        if (n) {
          n.children = await this.level(n, this.asking.signal);
          n.el.parentElement?.replaceWith(this.draw(n));
        } else {
          await this.load(null, false);
        }
        const first = (n ? n.children : this.top)?.[had];
        if (first) this.move(first); // where "more" stood
        else this.mark(this.chosen);
      } catch (err) {
        this.limits.set(more, had);
        if (!this.asking.signal.aborted) this.on.fail(err);
      }
      return;
    }
    const n = this.all().find((x) => x.id === id);
    if (!n) return;
    this.focus = n;
    this.on.pick(n.key, n.depth);
  }

  /** @param {MouseEvent} e */
  click(e) {
    if (!(e.target instanceof Element)) return;
    const el = /** @type {HTMLElement | null} */ (e.target.closest("[role=treeitem]"));
    if (!el) return;
    const n = this.all().find((x) => x.id === el.dataset.id);
    if (n && (e.target.closest(".twist") || n.id === this.chosen)) {
      this.focus = n;
      this.toggle(n, !n.open);
      return;
    }
    if (n) this.toggle(n, true);
    this.act(el.dataset.id, el.dataset.more);
  }

  /** @param {KeyboardEvent} e */
  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || !(e.target instanceof HTMLElement)) return;
    const more = /** @type {HTMLElement | null} */ (e.target.closest("[data-more]"));
    if (more && (e.key === "Enter" || e.key === " ")) {
      e.preventDefault();
      this.act(undefined, more.dataset.more);
      return;
    }
    const items = /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll("[role=treeitem]")]);
    const el = /** @type {HTMLElement | null} */ (e.target.closest("[role=treeitem]"));
    if (!el) return;
    const at = items.indexOf(el);
    const n = this.all().find((x) => x.id === el.dataset.id);
    const to = (/** @type {number} */ i) => {
      const next = items[Math.max(0, Math.min(items.length - 1, i))];
      const node = this.all().find((x) => x.id === next.dataset.id);
      if (node) this.move(node);
      else next.focus();
    };
    switch (e.key) {
      case "ArrowDown":
        to(at + 1);
        break;
      case "ArrowUp":
        to(at - 1);
        break;
      case "Home":
        to(0);
        break;
      case "End":
        to(items.length - 1);
        break;
      case "ArrowRight":
        if (n && !n.open) this.toggle(n, true);
        else if (n?.children?.length) to(at + 1);
        break;
      case "ArrowLeft":
        if (n?.open) this.toggle(n, false);
        else if (n?.parent) this.move(n.parent);
        break;
      case "Enter":
      case " ":
        if (n) this.act(n.id, undefined);
        break;
      default:
        if (e.key.length !== 1 || !/[\p{L}\p{N}]/u.test(e.key)) return;
        this.jump(items, at, e.key);
    }
    e.preventDefault();
    e.stopPropagation();
  }

  /** To the next node whose name begins with what is typed. @param {HTMLElement[]} items @param {number} at @param {string} key */
  jump(items, at, key) {
    const now = performance.now();
    this.typed = { text: (now - this.typed.at < 700 ? this.typed.text : "") + key.toLowerCase(), at: now };
    const all = this.all();
    const step = this.typed.text.length > 1 ? 0 : 1;
    for (let i = 0; i < items.length; i++) {
      const el = items[(at + step + i) % items.length];
      const n = all.find((x) => x.id === el.dataset.id);
      if (n && label(n).text.toLowerCase().startsWith(this.typed.text)) return this.move(n);
    }
  }
}

/** @param {number} depth @param {string} sign */
function item(depth, sign) {
  const el = element("div", "node-row", "");
  el.setAttribute("role", "treeitem");
  el.setAttribute("aria-level", String(depth));
  el.tabIndex = -1;
  el.style.paddingLeft = (depth - 1) * 14 + 4 + "px";
  const twist = element("span", "twist", sign);
  twist.setAttribute("aria-hidden", "true");
  el.append(twist);
  return el;
}

/** @param {Node} n */
function label(n) {
  const text = { [depths.cluster]: n.key.cluster, [depths.namespace]: n.key.namespace, [depths.kind]: kind(n.key), [depths.object]: n.key.name }[n.depth] ?? "";
  if (text) return { text: visible(text), odd: false };
  return { text: { [depths.cluster]: "cluster without a name", [depths.namespace]: "in no namespace", [depths.kind]: "no resource" }[n.depth] ?? "(no name)", odd: true };
}
