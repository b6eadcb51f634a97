/** Inbox and outbox: the newest transfers, with what has become of them; older ones on demand. */

import { api, url } from "./api.js";
import { errorPlace, h, patchList, setText, showError } from "./dom.js";
import { formatCount } from "./format.js";
import { keyOf } from "./store.js";
import { isEnded, isWhole, makeCard, updateCard, verbsOf } from "./transfers.js";
import { say } from "./say.js";

/** So many are shown at first, and so many more with each wish for more. */
const FIRST = 8;
const MORE = 20;
/** Ends and turns that are worth a sentence to somebody who hears the page. */
const TOLD = ["sealed", "released", "declined", "recalled", "cancelled", "expiring", "expired", "discarded", "failed"];

const EMPTY = {
  in: "Nothing has come yet. What others send to this workstation appears here.",
  out: "Nothing was sent yet. “Send” chooses a recipient and the files.",
};

/** One box: what the store has of it, and older ones that were asked for. */
class Box {
  #section;
  #store;
  #direction;
  #older = [];
  #wanted = FIRST;
  #list = h("ul", { class: "cards rows" });
  #count = h("p", { class: "muted" });
  #alert = errorPlace();
  #more = h("button", { type: "button" }, "More");
  #empty;
  #cards = new WeakMap();

  constructor(section, store, direction) {
    this.#section = section;
    this.#store = store;
    this.#direction = direction;
    this.#empty = h("p", { class: "empty" }, EMPTY[direction]);
    this.#more.setAttribute("aria-describedby", section.querySelector("h2").id);
    this.#more.addEventListener("click", () => this.#wantMore());
    section.append(this.#empty, this.#list, this.#alert, h("div", { class: "actions" }, this.#more, this.#count));
    const draw = () => this.draw();
    for (const kind of [this.#kind, "waiting", "active", "totals", "peers"]) store.subscribe(kind, draw);
    store.onEvent((event) => this.#hear(event));
  }

  get #kind() {
    return this.#direction === "in" ? "inbox" : "outbox";
  }

  /** All rows that are here, newest first. */
  get #rows() {
    const newest = this.#store.get(this.#kind);
    const known = new Set(newest.map(keyOf));
    return [...newest, ...this.#older.filter((row) => !known.has(keyOf(row)))];
  }

  /** An older transfer that the store does not know has changed. */
  #hear(event) {
    if (event.event !== "transfer" || event.transfer.direction !== this.#direction) return;
    const place = this.#older.findIndex((row) => row.id === event.transfer.id);
    if (place < 0) return;
    this.#older[place] = { ...this.#older[place], ...event.transfer };
    this.draw();
  }

  async #wantMore() {
    showError(this.#alert, null);
    this.#wanted += MORE;
    const last = this.#rows.at(-1);
    if (this.#rows.length < this.#wanted && last) {
      try {
        const found = await api.get(url`/v1/search${{ direction: this.#direction, before: last.id, limit: MORE }}`);
        this.#older.push(...found.transfers);
      } catch (error) {
        showError(this.#alert, error);
      }
    }
    this.draw();
  }

  draw() {
    const elsewhere = new Set([...this.#store.get("waiting"), ...this.#store.get("active")].map(keyOf));
    const rows = this.#rows;
    const shown = rows.slice(0, this.#wanted);
    const total = Math.max(this.#store.get("totals")?.[this.#direction] ?? 0, rows.length);
    this.#empty.hidden = rows.length > 0;
    this.#more.hidden = shown.length >= total;
    setText(this.#count, shown.length < total ? `${shown.length.toLocaleString("en")} of ${formatCount(total, "transfer")}` : "");
    const focused = this.#list.contains(document.activeElement);
    patchList(this.#list, shown, keyOf, (row) => this.#make(row), (item, row) => {
      const verbs = elsewhere.has(keyOf(row)) || !(isWhole(row) || isEnded(row)) ? [] : verbsOf(row);
      updateCard(this.#cards.get(item), row, [...verbs, "Show"]);
    });
    if (focused && !this.#list.contains(document.activeElement)) this.#section.querySelector("h2").focus();
  }

  #make(row) {
    const card = makeCard(row, { store: this.#store });
    const item = h("li", null, card);
    this.#cards.set(item, card);
    return item;
  }
}

/** Say what has become of a transfer, without patient data. */
function announce(event, before) {
  if (event.event !== "transfer" || !before || document.hidden) return;
  const row = event.transfer;
  if (before.state === row.state || !TOLD.includes(row.state)) return;
  say.politely(`transfer ${row.direction === "in" ? "from" : "to"} ${row.peer}: ${row.state}`);
}

/** Fill one of the two regions. */
export function mount(section, store) {
  const direction = section.dataset.region === "inbox" ? "in" : "out";
  new Box(section, store, direction);
  if (direction === "in") store.onEvent(announce);
}
