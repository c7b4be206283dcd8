// The history of the selected object: its revisions, what changed between two of
// them, and every mark of its row as a table.

import { ask } from "./api.js";
import { action, DiffView } from "./diff.js";
import { policyRule, recorded } from "./diff-bodies.js";
import { jsonText, readPatch, sentence } from "./diff-patch.js";
import { element, replace, toast } from "./dom.js";
import { path, place, short, title, visible } from "./objects-key.js";
import { actorURL, bodied, counts, creates, isStatus, link, outcome, shortPath, verbClass, who } from "./objects-words.js";
import { quote } from "./state.js";
import { failure, loading } from "./states.js";
import { timeElement } from "./time.js";
import { words } from "./timeline-data.js";

/** @typedef {import("./objects-key.js").Key} Key */
/** @typedef {import("./view.js").App} App */
/** @typedef {import("./diff-bodies.js").Event} Event */
/** @typedef {import("./diff-bodies.js").Recorded} Recorded */
/** @typedef {import("./timeline-data.js").Row} Row */
/** @typedef {{event: Event, fields?: {path: string, old?: unknown, new?: unknown}[], patch?: unknown, note?: string}} Change */
/** @typedef {{diff: string, event: string, inline: boolean, noise: boolean, status: boolean}} Open what of the object is open */

const page = 50;
const accounts = "system:serviceaccount:";
const mostMarks = 500;
const farthest = 4; // pages that are looked through for the object before a revision

export class History {
  /**
   * @param {HTMLElement} root
   * @param {App} app
   * @param {{named: (names: {t: number, text: string}[]) => void, left: () => void}} on who made the revisions; it was closed with the focus in it
   */
  constructor(root, app, on) {
    this.root = root;
    this.app = app;
    this.on = on;
    this.shown = ""; // what the pane shows
    this.id = "";
    /** @type {Key | null} */
    this.key = null;
    /** @type {Change[]} */
    this.changes = [];
    this.next = "";
    /** @type {DiffView | null} */
    this.view = null;
    /** @type {Open} */
    this.open = { diff: "", event: "", inline: false, noise: false, status: false };
    this.asking = new AbortController();
    this.drawing = 0;
  }

  close() {
    const had = this.root.contains(document.activeElement);
    this.asking.abort();
    this.drawing++;
    this.id = this.shown = "";
    this.key = null;
    this.changes = [];
    this.view = null;
    this.root.hidden = true;
    this.root.replaceChildren();
    if (had) this.on.left();
  }

  /** @param {Key} key @param {Open} open @param {boolean} again ask even if it is the same object */
  async show(key, open, again) {
    const listed = this.open.status === open.status;
    this.open = open;
    const id = path(key);
    if (id === this.id && !again) {
      if (!listed) this.draw();
      this.mark();
      await this.pane();
      return;
    }
    this.asking.abort();
    const asking = (this.asking = new AbortController());
    const same = id === this.id;
    this.id = id;
    this.key = key;
    if (!same) {
      this.changes = [];
      this.build(key);
      this.list?.replaceChildren(loading());
    }
    this.root.hidden = false;
    try {
      const a = await this.ask(key, asking.signal);
      this.take(a.changes ?? [], a.next ?? "");
      this.warnings = a.warnings ?? [];
    } catch (err) {
      if (asking.signal.aborted) return;
      this.list?.replaceChildren(failure(err, () => this.show(key, this.open, true)));
      return;
    }
    if (asking.signal.aborted) return;
    this.draw();
    await this.pane();
  }

  /** The newest changes; older ones that are there stay. @param {Change[]} newest @param {string} next */
  take(newest, next) {
    const ids = new Set(newest.map((c) => c.event.id));
    const older = this.changes.filter((c) => !ids.has(c.event.id));
    // Without one that is in both lists, there may be others in between.
    if (older.length === this.changes.length || !older.length) {
      this.changes = newest;
      this.next = next;
    } else {
      this.changes = [...newest, ...older];
    }
  }

  /**
   * The whole history, whatever filter and range are: a revision is compared with the one before it, whenever that was.
   * @param {Key} key
   * @param {AbortSignal} signal
   * @param {Record<string, string>} [more]
   */
  async ask(key, signal, more = {}) {
    if (!key.name || !key.resource) return { changes: [], next: "", warnings: [] };
    const p = new URLSearchParams({ resource: key.resource, name: key.name, diff: "true", limit: String(page), ...more });
    // In the filter, for there "" is a value too, and a custom resource is not taken
    // for one of Kubernetes' own. A namespace is in itself, but not where it is created.
    const own = key.resource === "namespaces" && !key.api_group;
    p.set("filter", `cluster == ${quote(key.cluster)} && api_group == ${quote(key.api_group)}` + (own ? "" : ` && namespace == ${quote(key.namespace)}`));
    return ask("history", p, { signal });
  }

  /** @param {Key} key */
  build(key) {
    const head = element("div", "hist-head", "");
    const h = element("h2", "", "");
    h.append(element("bdi", "", title(key)));
    head.append(h, element("span", "quiet hist-place", place(key)));
    const links = element("p", "hist-links", "");
    const filter = ["cluster", "namespace", "api_group", "resource", "name"].map((c) => `${c} == ${quote(/** @type {Record<string, string>} */ (key)[c])}`).join(" && ");
    links.append(link("All its requests", this.app.link("events", (p) => p.set("filter", filter))));
    const close = action("✕", () => this.app.go((p) => ["object", "diff", "event"].forEach((n) => p.delete(n))));
    close.className = "hist-close";
    close.setAttribute("aria-label", "Close the history");
    close.title = "Close (Esc)";
    head.append(links, close);
    const body = element("div", "hist-body", "");
    this.list = element("div", "hist-list", "");
    this.list.tabIndex = 0;
    this.list.setAttribute("role", "region");
    this.list.setAttribute("aria-label", "Revisions");
    this.side = element("div", "hist-pane", "");
    body.append(this.list, this.side);
    this.root.setAttribute("aria-label", "History of " + title(key));
    this.root.replaceChildren(head, body);
  }

  draw() {
    if (!this.list) return;
    const out = [];
    for (const w of this.warnings ?? []) out.push(element("p", "note", short(w.text, 400)));
    const shown = this.changes.filter((c) => this.open.status || !isStatus(c.event));
    if (this.changes.length) {
      const table = element("table", "revs", "");
      table.append(element("caption", "sr", "Revisions, newest first"));
      const widths = document.createElement("colgroup");
      for (const name of ["pick", "when", "what"]) widths.append(element("col", "col-" + name, ""));
      const body = document.createElement("tbody");
      body.append(...shown.map((c) => this.row(c)));
      table.append(widths, body);
      out.push(this.listHead(this.changes.length - shown.length), table);
    } else if (!this.warnings?.length || !this.key?.name) {
      out.push(element("p", "note", this.key?.name ? "No change of it is recorded; its marks are below." : "Requests of this row name no object, such as a list or the deletion of a collection. Its marks are below."));
    }
    if (this.next) {
      const more = element("p", "hist-more", "");
      more.append(action("Older revisions", () => this.older()));
      out.push(more);
    }
    const open = this.marks?.open ?? false;
    this.marks = document.createElement("details");
    this.marks.className = "marks";
    this.marks.open = open;
    this.marks.append(element("summary", "", "Marks of the row, as a table"));
    this.marks.addEventListener("toggle", () => this.fillMarks());
    out.push(this.marks);
    replace(this.list, ...out);
    this.fillMarks();
    this.mark();
    this.on.named(
      this.changes
        .filter((c) => counts(c.event) && !isStatus(c.event))
        .map((c) => ({ t: Date.parse(c.event.time), text: short(who(c.event).replaceAll(accounts, ""), 60) }))
        .reverse(),
    );
  }

  /** What the boxes are, and whether what controllers say of the object's state is listed. @param {number} hidden */
  listHead(hidden) {
    const p = element("p", "list-head", "");
    p.append(element("span", "quiet", "from, to · newest first"));
    if (hidden || this.open.status) {
      const button = action(this.open.status ? "Hide status updates" : `${hidden} status ${hidden === 1 ? "update" : "updates"} hidden`, () => this.app.go((q) => (this.open.status ? q.delete("status") : q.set("status", "1")), { replace: true }));
      button.setAttribute("aria-pressed", String(this.open.status));
      button.title = "Updates of the object's status, most of them by controllers";
      p.append(button);
    }
    return p;
  }

  async older() {
    if (!this.key) return;
    try {
      const a = await this.ask(this.key, this.asking.signal, { cursor: this.next });
      this.changes.push(...(a.changes ?? []));
      this.next = a.next ?? "";
      this.draw();
    } catch (err) {
      if (!this.asking.signal.aborted) toast(err instanceof Error ? err.message : String(err));
    }
  }

  /** @param {Change} c */
  row(c) {
    const e = c.event;
    const id = String(e.id);
    const row = document.createElement("tr");
    row.dataset.id = id;
    row.classList.toggle("failed", (e.code ?? 0) >= 400);
    const pick = element("td", "pick", "");
    if (counts(e)) {
      for (const [side, label] of [["a", "Compare from"], ["b", "Compare to"]]) {
        const radio = document.createElement("input");
        radio.type = "radio";
        radio.name = "rev-" + side;
        radio.value = id;
        radio.setAttribute("aria-label", `${label} the revision of ${e.time}`);
        radio.title = label;
        radio.addEventListener("change", () => this.compare());
        pick.append(radio);
      }
    }
    const at = element("td", "when", "");
    const open = action("", () => this.go(counts(e) ? { diff: id } : { event: id }));
    open.className = "as-link";
    open.append(timeElement(e.time, "second"));
    at.append(open, this.actor(e));
    const what = element("td", "what", "");
    const sub = e.subresource ? " " + short(e.subresource, 30) : "";
    const changed = element("div", "changed", "");
    changed.append(...this.brief(c));
    what.append(element("span", `verb ${verbClass(e)}`, short(e.verb, 30) + sub), " ", outcome(e), changed);
    row.append(pick, at, what);
    row.addEventListener("click", (ev) => {
      if (ev.target instanceof Element && ev.target.closest("a, button, input")) return;
      open.click();
    });
    return row;
  }

  /** The first fields that changed, in a line. @param {Change} c @returns {(Node | string)[]} */
  brief(c) {
    const fields = (c.fields ?? []).filter((f) => !f.path.includes("last-applied-configuration") && !f.path.startsWith("status"));
    const all = fields.length ? fields : (c.fields ?? []);
    if (all.length) {
      const out = all.slice(0, 2).map((f) => {
        const p = element("bdi", "field", short(shortPath(f.path), 60));
        const value = (/** @type {unknown} */ v, most = 40) => (v === undefined ? "∅" : short(jsonText(v), most));
        const change = element("span", "quiet", ` ${value(f.old)} → ${value(f.new)}`);
        const line = element("div", "", "");
        line.append(p, change);
        line.title = `${short(f.path, 300)}\n${value(f.old, 300)} → ${value(f.new, 300)}`;
        return line;
      });
      if (all.length > 2) out.push(element("div", "quiet", `and ${all.length - 2} more`));
      return out;
    }
    if (c.patch !== undefined) {
      const { list } = readPatch(c.patch);
      return list.slice(0, 2).map((s) => {
        const say = sentence(s);
        return element("div", "", short(`${say.sign} ${shortPath(say.path)} ${say.value}`, 70));
      });
    }
    if (counts(c.event) && creates(c.event)) return ["created"];
    return [element("span", "quiet", short(c.note ?? "", 120))];
  }

  /** @param {Event} e */
  actor(e) {
    const span = element("span", "by", "");
    const a = (/** @type {string} */ user) => {
      const el = link(user.startsWith(accounts) ? short(user.slice(accounts.length), 120) : short(user, 120), actorURL(this.app, user));
      el.title = `What else ${short(user)} did`;
      // The part that all service accounts share gives way where there is little room.
      if (user.startsWith(accounts)) el.prepend(element("span", "prefix", accounts));
      return el;
    };
    span.append(e.user ? a(e.user) : element("i", "quiet", "nobody"));
    if (e.as_user) span.append(element("small", "", " as "), a(e.as_user));
    return span;
  }

  /** @param {{diff?: string, event?: string}} to */
  go(to) {
    this.app.go((p) => {
      for (const n of ["diff", "event"]) p.delete(n);
      if (to.diff) p.set("diff", to.diff);
      if (to.event) p.set("event", to.event);
    });
  }

  /** Two revisions were chosen. */
  compare() {
    const value = (/** @type {string} */ side) => /** @type {HTMLInputElement | null} */ (this.list?.querySelector(`input[name=rev-${side}]:checked`))?.value ?? "";
    const [a, b] = [value("a"), value("b")];
    if (a && b) this.go({ diff: `${a}..${b}` });
  }

  /** Shows in the list which revisions are compared. */
  mark() {
    const [from, to] = this.pair();
    for (const row of this.list?.querySelectorAll("tr[data-id]") ?? []) {
      const id = /** @type {HTMLElement} */ (row).dataset.id ?? "";
      row.classList.toggle("is-from", id === from);
      row.classList.toggle("is-to", id === to || id === this.open.event);
      for (const input of row.querySelectorAll("input")) input.checked = (input.name === "rev-a" ? from : to) === id;
    }
  }

  /** The revisions that are compared: those of the URL, or the newest with the one before. @returns {[string, string]} */
  pair() {
    const { diff, event } = this.open;
    if (event && !diff) return ["", ""];
    const [a, b] = diff.split("..");
    if (b) return [a, b];
    const newest = this.changes.find((c) => counts(c.event) && !isStatus(c.event)) ?? this.changes.find((c) => counts(c.event));
    const to = a || String(newest?.event.id ?? "");
    const at = this.changes.findIndex((c) => String(c.event.id) === to);
    const created = at >= 0 && creates(this.changes[at].event);
    const before = at < 0 || created ? undefined : this.changes.slice(at + 1).find((c) => counts(c.event) && bodied(c.event));
    return [before ? String(before.event.id) : "", to];
  }

  /**
   * The revisions that are compared, where the list does not reach back to the
   * one before: with what is between them.
   * @returns {Promise<{from: string, to: string, events: Event[], more: boolean}>} events newest first; whether there may be an object before them
   */
  async reach() {
    const [from, to] = this.pair();
    const listed = { from, to, events: this.changes.map((c) => c.event), more: false };
    if (from || !to || this.open.diff.includes("..") || !this.key) return listed;
    const at = listed.events.findIndex((e) => String(e.id) === to);
    const e = at >= 0 ? listed.events[at] : (await recorded(to)).event;
    if ((at >= 0 && !this.next) || creates(e)) return listed;
    /** @type {Event[]} */
    const events = [];
    let cursor = "";
    const until = String((Date.parse(e.time) + 1) * 1000);
    for (let n = 0; n < farthest; n++) {
      const a = await this.ask(this.key, this.asking.signal, cursor ? { diff: "false", cursor } : { diff: "false", to: until });
      events.push(...(a.changes ?? []).map((/** @type {Change} */ c) => c.event));
      const here = events.findIndex((x) => x.id === e.id);
      const before = here < 0 ? undefined : events.slice(here + 1).find((x) => counts(x) && bodied(x));
      if (before) return { from: String(before.id), to, events, more: false };
      cursor = a.next ?? "";
      if (!cursor) return { from, to, events, more: false };
    }
    return { from, to, events, more: true };
  }

  /** What is to the right of the list. */
  async pane() {
    const side = this.side;
    if (!side) return;
    const { event, inline, noise } = this.open;
    const wanted = JSON.stringify([this.id, ...this.pair(), event, inline, noise]);
    if (wanted === this.shown) return;
    const now = ++this.drawing;
    const to = this.pair()[1];
    this.shown = "";
    this.view = null;
    if (!to && !event) {
      side.replaceChildren();
      side.hidden = true;
      return;
    }
    side.hidden = false;
    side.setAttribute("aria-busy", "true");
    try {
      const there = event ? null : await this.reach();
      const [a, b] = await Promise.all([there?.from ? recorded(there.from) : null, recorded(event || to)]);
      if (now !== this.drawing) return;
      if (there) replace(side, ...this.difference(a, b, there));
      else replace(side, this.card(b));
      this.shown = wanted;
    } catch (err) {
      if (now === this.drawing) side.replaceChildren(failure(err, () => this.pane()));
    }
    if (now === this.drawing) side.removeAttribute("aria-busy");
  }

  /** @param {Recorded | null} a @param {Recorded} b @param {{events: Event[], more: boolean}} there */
  difference(a, b, there) {
    const { inline, noise } = this.open;
    const head = element("div", "pane-head", "");
    head.append(this.told(b));
    if (a) {
      const p = element("p", "quiet", "compared with ");
      p.append(timeElement(a.event.time, "second"), " – ", element("bdi", "", short(who(a.event), 80)), ` ${short(a.event.verb, 30)}`);
      head.append(p);
    }
    const out = [head];
    if (b.why) out.push(this.note(b));
    const statements = b.patch !== undefined && !b.object ? this.patch(b.patch) : null;
    if (statements) out.push(statements);
    if (!b.object && !b.gone) return out;
    if (!a?.object && !b.object) {
      if (a && !a.object) out.push(element("p", "note", "How it was before is not recorded either."));
      return out;
    }
    if (!a && there.more) out.push(element("p", "note", `None of the ${there.events.length} changes before it was recorded with the object: this is the whole object.`));
    else if (!a && !creates(b.event)) out.push(element("p", "note", "No object before it was recorded: this is the whole object."));
    else if (a && !a.object) out.push(element("p", "note", `${a.why || "No object before it was recorded."} This is the whole object.`));
    const [uidA, uidB] = [a?.object?.metadata?.uid, b.object?.metadata?.uid];
    if (uidA && uidB && uidA !== uidB) out.push(element("p", "note", "These are two objects of the same name: the one before was deleted, and this one created."));
    const between = within(there.events, a, b);
    if (between) out.push(element("p", "note", `${between === 1 ? "1 change in between was" : between + " changes in between were"} recorded without the object; what ${between === 1 ? "it" : "they"} changed is part of this.`));
    const inner = element("div", "diff-view", "");
    this.view = new DiffView(inner, {
      form: (on) => this.app.go((p) => (on ? p.set("form", "inline") : p.delete("form")), { replace: true }),
      noise: (on) => this.app.go((p) => (on ? p.set("noise", "1") : p.delete("noise")), { replace: true }),
    });
    out.push(inner);
    this.view.show({ before: a?.object ?? null, after: b.object, inline, noise });
    return out;
  }

  /** Who did what, and where to go from there. @param {Recorded} r */
  told(r) {
    const e = r.event;
    const p = element("p", "told", "");
    p.append(this.actor(e), " ", element("b", `verb ${verbClass(e)}`, short(e.verb, 30) + (e.subresource ? " " + short(e.subresource, 40) : "")), " ", outcome(e), " at ", timeElement(e.time, "full"), " · ", link("event", this.app.link("events", (q) => q.set("event", String(e.id)))));
    return p;
  }

  /** Why there is no object, with the rule that would have recorded it. @param {Recorded} r */
  note(r) {
    const el = element("div", "note", r.why);
    if (!r.policy) return el;
    const rule = policyRule(r.event);
    el.append(element("p", "", "This rule of the audit policy, above the one that matches now, records both bodies:"));
    const pre = element("pre", "", visibleLines(rule));
    pre.tabIndex = 0;
    el.append(
      pre,
      action("Copy", async () => {
        try {
          await navigator.clipboard.writeText(rule);
          toast("Rule copied");
        } catch {
          toast("The browser did not allow copying");
        }
      }),
    );
    return el;
  }

  /** @param {unknown} patch */
  patch(patch) {
    const { form, list, more } = readPatch(patch);
    const el = element("div", "patch", "");
    el.append(element("h3", "", `What the patch says (${form})`));
    const table = document.createElement("table");
    const body = document.createElement("tbody");
    for (const s of list) {
      const { sign, path: at, value } = sentence(s);
      const row = document.createElement("tr");
      row.className = s.op === "remove" ? "removed" : s.op === "add" ? "added" : "";
      row.append(element("td", "sign", sign), element("td", "at", at), element("td", "text", value));
      body.append(row);
    }
    table.append(body);
    el.append(list.length ? table : element("p", "quiet", "nothing"));
    if (more) el.append(element("p", "quiet", `and ${more.toLocaleString("en")} more`));
    if (form.endsWith("or not") && list.some((s) => s.path.includes("["))) el.append(element("p", "quiet", "If it was not a strategic one, each list in it is the whole list."));
    return el;
  }

  /** An event that is no revision. @param {Recorded} r */
  card(r) {
    const e = r.event;
    const el = element("div", "card", "");
    el.append(this.told(r));
    if (r.sentence) el.append(element("p", "card-sentence", short(r.sentence, 1000)));
    const facts = element("dl", "facts", "");
    for (const [name, value] of [["Object", [e.namespace, `${e.resource ?? ""}${e.subresource ? "/" + e.subresource : ""}`, e.name].filter(Boolean).join(" · ")], ["Code", e.code ? `${e.code} ${e.reason ?? ""}` : ""], ["Message", e.message], ["Allowed by", e.decision_reason], ["Address", (e.source_ips ?? []).join(", ")], ["Agent", e.agent], ["URI", e.uri], ["Level", e.level]]) {
      if (!value) continue;
      const dd = element("dd", "", "");
      dd.append(element("bdi", "", short(value, 1000)));
      facts.append(element("dt", "", name ?? ""), dd);
    }
    el.append(facts);
    return el;
  }

  /** The row of the timeline whose marks the table has. @param {Row | null} row @param {number} from @param {number} to */
  setRow(row, from, to) {
    this.source = { row, from, to };
    if (this.marks?.open) this.fillMarks();
  }

  fillMarks() {
    if (!this.marks?.open) return;
    const { row, from, to } = this.source ?? { row: null, from: 0, to: 0 };
    const body = document.createElement("tbody");
    let n = 0;
    for (const { lane, i, j } of (row?.parts(from, to) ?? []).reverse()) {
      for (let k = j - 1; k >= i && n < mostMarks; k--, n++) {
        const tr = document.createElement("tr");
        const at = element("td", "", "");
        const id = String(lane.id[k]);
        const button = action("", () => this.go({ event: id }));
        button.className = "as-link";
        button.append(timeElement(lane.time[k], "clock"));
        at.append(button);
        tr.append(at, element("td", "", words(lane.kind[k], 1)), element("td", "num", lane.count[k].toLocaleString("en")));
        body.append(tr);
      }
    }
    const table = element("table", "revs", "");
    table.append(element("caption", "", n >= mostMarks ? `The last ${mostMarks} marks in sight` : `${n} marks in the range in sight; a mark of several requests opens the last`), body);
    const wrap = element("div", "", "");
    wrap.append(table);
    this.marks.replaceChildren(/** @type {Element} */ (this.marks.firstElementChild), wrap);
  }

  /** @param {KeyboardEvent} e */
  press(e) {
    if (e.key !== "n" && e.key !== "p") return false;
    return this.view?.jump(e.key === "n" ? 1 : -1) ?? false;
  }
}

/** How many changes between two revisions kept no object. @param {Event[]} events @param {Recorded | null} a @param {Recorded} b */
function within(events, a, b) {
  const at = (/** @type {Recorded | null} */ r) => events.findIndex((e) => e.id === r?.event.id);
  const [older, newer] = [at(a), at(b)];
  if (older < 0 || newer < 0) return 0;
  return events.slice(Math.min(older, newer) + 1, Math.max(older, newer)).filter((e) => counts(e) && !bodied(e)).length;
}

/** @param {string} s */
function visibleLines(s) {
  return s.split("\n").map(visible).join("\n");
}

