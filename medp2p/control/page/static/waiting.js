/**
 * What needs a person: offers to decide, sealed transfers to release, holds, and requests to
 * destroy. What stands under the pointer does not move: newcomers go to the end meanwhile, and a
 * card that is done with leaves a sentence in its place for a moment, so that a second click meets
 * no other patient.
 */

import { field } from "./decisions.js";
import { h, moving, patchList, setChildren, setText, told } from "./dom.js";
import { formatCount } from "./format.js";
import { keyOf } from "./store.js";
import { makeCard, updateCard } from "./transfers.js";
import { lasting, say } from "./say.js";

/** How long the place of a card that has gone is kept, milliseconds; longer under the pointer. */
const GONE_MS = 1500;
const GONE_AT_MOST_MS = 3000;
/** So many cards are shown at first, and so many more with each wish for more. */
const FIRST = 20;
const KINDS = ["decide", "answer", "held", "release"];
const WHY = {
  decide: "Offered: take it or refuse it.",
  held: "Held: look at it before it is released.",
  release: "Sealed: release it into a folder.",
  answer: "Taken back by its sender after its release: destroy all copies, then answer.",
};

/** Urgent ones first; then what somebody else waits for; then those that wait longest. */
function order(one, other) {
  const urgent = (row) => (row.priority === "stat" ? 0 : 1);
  const kind = (row) => KINDS.indexOf(row.why);
  return urgent(one) - urgent(other) || kind(one) - kind(other) || (one.created < other.created ? -1 : one.created > other.created ? 1 : 0);
}

/** A choice beside Accept: where to release it once it is sealed. */
function targetChoice(store) {
  const select = h("select", null);
  const element = h("div", { class: "then" }, field("Once sealed", select));
  const update = () => {
    const targets = store.get("targets") ?? [];
    element.hidden = targets.length === 0;
    const chosen = select.value;
    setChildren(select, h("option", { value: "" }, "keep it sealed"), targets.map((target) => h("option", { value: target.name }, `into ${target.name}`)));
    select.value = targets.some((target) => target.name === chosen) ? chosen : "";
  };
  return { element, select, update };
}

/** The list of cards, and what has just gone from it. */
class Cards {
  #store;
  #list;
  #gone = new Map();
  #choices = new WeakMap();
  #rows = [];
  #wanted = FIRST;
  /** What the newest act here has led to: `{key, children}`; its sentence stays in the place of its card. */
  #last = null;

  constructor(list, store) {
    this.#list = list;
    this.#store = store;
    list.addEventListener("pointerleave", () => this.#draw());
    list.addEventListener("dismissed", () => this.#forget());
    list.addEventListener("click", (event) => event.target.closest("[data-verb]") && this.#forget());
  }

  /** The sentence about the newest act is not wanted any more. */
  #forget() {
    if (!this.#last) return;
    this.#gone.delete(this.#last.key);
    this.#last = null;
    this.#draw();
  }

  /** Keep a sentence about a card that is done with. */
  #keep(row, children) {
    this.#forget();
    const key = keyOf(row);
    this.#last = { key, children };
    if (!this.#gone.has(key) && !this.#rows.some((one) => keyOf(one) === key)) this.#gone.set(key, { row, since: performance.now() });
    this.#draw();
    setTimeout(() => this.#draw(), GONE_MS);
  }

  /** How many of the rows have no card. */
  get hidden() {
    return Math.max(0, this.#rows.length - this.#wanted);
  }

  /** Show more cards. */
  more() {
    this.#wanted += FIRST;
    this.#draw();
  }

  /** Show these rows. */
  show(rows) {
    const now = performance.now();
    const shown = new Set([...this.#list.children].map((child) => child.dataset.key));
    const still = new Set(rows.map(keyOf));
    for (const row of this.#rows) {
      const key = keyOf(row);
      if (shown.has(key) && !still.has(key)) this.#gone.set(key, { row, since: now });
    }
    for (const row of rows) this.#gone.delete(keyOf(row));
    if (this.#last?.left && !this.#gone.has(this.#last.key)) this.#last = null; // it has come back
    this.#rows = rows;
    this.#draw();
    if (this.#gone.size) setTimeout(() => this.#draw(), GONE_MS);
  }

  /** Whether somebody may be about to click. */
  get #held() {
    return this.#list.matches(":hover") && matchMedia("(hover: hover)").matches;
  }

  #draw() {
    const now = performance.now();
    const held = this.#held;
    for (const [key, { since }] of this.#gone) {
      const over = now - since >= (held ? GONE_AT_MOST_MS : GONE_MS);
      if (over && key === this.#last?.key) this.#settle(key);
      else if (over) this.#gone.delete(key);
    }
    if (held && [...this.#gone.keys()].some((key) => key !== this.#last?.key || !this.#last.settled)) setTimeout(() => this.#draw(), GONE_MS);
    const focused = this.#list.contains(document.activeElement);
    const items = this.#arranged(held || focused);
    patchList(this.#list, items, keyOf, (row) => this.#make(row), (element, row) => this.#update(element, row));
    if (focused && !this.#list.contains(document.activeElement)) document.getElementById("waiting-title").focus();
  }

  /** The rows in their order; while somebody may be about to click, as they stand, newcomers last. */
  #arranged(still) {
    const known = new Map([...this.#rows, ...[...this.#gone.values()].map((one) => one.row)].map((row) => [keyOf(row), row]));
    const sorted = [...known.values()].sort(order);
    const first = sorted.slice(0, this.#wanted);
    if (!still) return first;
    const place = new Map([...this.#list.children].map((child, number) => [child.dataset.key, number]));
    const shown = sorted.filter((row, number) => number < this.#wanted || place.has(keyOf(row)));
    return shown.sort((one, other) => (place.get(keyOf(one)) ?? Infinity) - (place.get(keyOf(other)) ?? Infinity) || 0);
  }

  #make(row) {
    const choice = targetChoice(this.#store);
    const why = h("p", { class: "card-why" });
    const card = makeCard(row, { store: this.#store, full: row.why !== "release", extra: h("div", null, why, choice.element) });
    const item = h("li", null, card);
    card.addEventListener("done-with", (event) => this.#keep(row, event.detail));
    this.#choices.set(item, { card, choice, why });
    return item;
  }

  #update(item, row) {
    if (this.#gone.has(keyOf(row))) {
      const said = this.#last?.key === keyOf(row) ? ".lasting" : ".gone";
      if (!item.querySelector(said)) this.#leave(item, row);
      return;
    }
    if (item.querySelector(".gone, .lasting")) return this.#again(item, row);
    const { card, choice, why } = this.#choices.get(item);
    setChildren(why, WHY[row.why] ?? "");
    choice.update();
    if (row.why !== "decide") choice.element.hidden = true;
    updateCard(card, { ...row, release_to_wanted: () => choice.select.value });
  }

  /** It has come back while its place was still kept. */
  #again(item, row) {
    const fresh = this.#make(row);
    this.#choices.set(item, this.#choices.get(fresh));
    item.style.minHeight = "";
    item.replaceChildren(...fresh.childNodes);
    this.#update(item, row);
  }

  /** Put a sentence in the place of a card, and keep its room: nothing else moves yet. */
  #leave(item, row) {
    const now = this.#store.transfer(row.direction, row.id) ?? row;
    const from = ["from ", told(row.peer), ": "];
    item.style.minHeight = `${item.getBoundingClientRect().height}px`;
    if (this.#last?.key === keyOf(row)) {
      this.#last.left = true;
      item.replaceChildren(lasting(from, this.#last.children));
    } else item.replaceChildren(h("p", { class: "gone", role: "status" }, from, now.state));
  }

  /** Give back the room of a card whose sentence stays. */
  #settle(key) {
    this.#last.settled = true;
    const item = [...this.#list.children].find((child) => child.dataset.key === key);
    if (item?.style.minHeight) moving(() => (item.style.minHeight = ""));
  }
}

/** Say that something new waits, without patient data. */
function announce(rows, known) {
  const fresh = rows.filter((row) => !known.has(keyOf(row)));
  if (!fresh.length) return;
  const urgent = fresh.filter((row) => row.priority === "stat").length;
  const names = [...new Set(fresh.map((row) => row.peer))].join(", ");
  say.politely(`${formatCount(fresh.length, "transfer")} ${fresh.length === 1 ? "waits" : "wait"} for you, from ${names}${urgent ? `; ${urgent} STAT` : ""}`);
}

/** Fill the region. */
export function mount(section, store) {
  const list = h("ul", { class: "cards" });
  const empty = h("p", { class: "empty" }, "Nothing waits for you. What others send appears here by itself.");
  const cards = new Cards(list, store);
  let known = null;
  const more = h("button", { type: "button", "aria-describedby": "waiting-title" }, "More");
  const count = h("p", { class: "muted" });
  const others = h("p", { class: "hint" });
  section.append(empty, list, h("div", { class: "actions" }, more, count), others);
  const rest = () => {
    const { hidden } = cards;
    const unlisted = store.get("unlisted") ?? 0;
    const total = store.get("waiting").length;
    more.hidden = hidden === 0;
    setText(count, hidden ? `${total - hidden} of ${formatCount(total, "transfer")}` : "");
    others.hidden = unlisted === 0;
    setText(others, unlisted ? `${unlisted.toLocaleString("en")} more wait than are listed here: Search finds them by their state.` : "");
  };
  more.addEventListener("click", () => {
    cards.more();
    rest();
  });
  store.subscribe("waiting", (rows) => {
    cards.show(rows);
    rest();
    empty.hidden = rows.length > 0;
    if (known) announce(rows, known);
    known = new Set(rows.map(keyOf));
  });
  const redraw = () => cards.show(store.get("waiting"));
  store.subscribe("targets", redraw);
  store.subscribe("peers", redraw);
}
