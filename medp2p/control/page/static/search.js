/** Looking for transfers by peer, date, state and, with the vault open, patient. */

import { STATES, formatCount } from "./format.js";
import { api, url } from "./api.js";
import { field } from "./decisions.js";
import { h, patchList, setText } from "./dom.js";
import { errorPlace, makeCard, showError, updateCard } from "./transfers.js";

const LIMIT = 30;

const keyOf = (row) => `${row.direction}:${row.id}`;

function choices(pairs) {
  return pairs.map(([value, text]) => h("option", { value }, text));
}

/** The fields, and what they hold as a query. */
function makeFields() {
  const input = (type, more) => h("input", { type, spellcheck: "false", autocomplete: "off", ...more });
  const peers = h("datalist", { id: "search-peers" });
  const fields = {
    patient: input("text", { maxlength: 200 }),
    peer: input("text", { maxlength: 63, list: "search-peers", autocapitalize: "off" }),
    direction: h("select", null, choices([["", "inbox and outbox"], ["in", "inbox"], ["out", "outbox"]])),
    state: h("select", null, choices([["", "any"], ...Object.keys(STATES).map((word) => [word, word])])),
    from: input("date"),
    to: input("date"),
  };
  const labels = { patient: "Patient: name or ID", peer: "Peer", direction: "Box", state: "State", from: "From day", to: "To day" };
  const elements = Object.entries(fields).map(([name, control]) => field(labels[name], control));
  const query = () => Object.fromEntries(Object.entries(fields).map(([name, control]) => [name, control.value.trim()]));
  return { fields, peers, query, element: h("div", { class: "fields" }, elements, peers) };
}

/** What was found, in pages. */
class Results {
  #store;
  #rows = [];
  #query = null;
  #next = null;
  #asked = 0;
  #list = h("ul", { class: "cards rows" });
  #count = h("p", { class: "muted", role: "status" });
  #alert = errorPlace();
  #more = h("button", { type: "button", hidden: true }, "More");
  #cards = new WeakMap();

  constructor(store) {
    this.#store = store;
    this.#more.addEventListener("click", () => this.#page());
    this.element = h("div", { class: "results" }, this.#alert, this.#count, this.#list, h("div", { class: "actions" }, this.#more));
    store.onEvent((event) => this.#hear(event));
    store.subscribe("peers", () => this.#draw());
  }

  /** Look for something else; null: for nothing. */
  async begin(query) {
    this.#rows = [];
    this.#next = null;
    this.#query = query;
    this.#asked += 1;
    showError(this.#alert, null);
    setText(this.#count, query ? "looking …" : "");
    this.#draw();
    if (query) await this.#page();
  }

  async #page() {
    const mine = (this.#asked += 1);
    showError(this.#alert, null);
    try {
      const found = await api.get(url`/v1/search${{ ...this.#query, limit: LIMIT, before: this.#next }}`);
      if (mine !== this.#asked) return;
      this.#rows.push(...found.transfers);
      this.#next = found.next;
      const more = found.next ? " so far; “More” looks at older ones" : "";
      setText(this.#count, this.#rows.length ? `${formatCount(this.#rows.length, "transfer")} found${more}` : found.next ? `Nothing found${more}.` : "Nothing found. Try fewer words, or another time.");
    } catch (error) {
      if (mine !== this.#asked) return;
      setText(this.#count, "");
      showError(this.#alert, error);
    }
    this.#draw();
  }

  #hear(event) {
    if (event.event !== "transfer") return;
    const place = this.#rows.findIndex((row) => keyOf(row) === keyOf(event.transfer));
    if (place < 0) return;
    this.#rows[place] = { ...this.#rows[place], ...event.transfer };
    this.#draw();
  }

  #draw() {
    this.#more.hidden = !this.#next;
    patchList(this.#list, this.#rows, keyOf, (row) => this.#make(row), (item, row) => updateCard(this.#cards.get(item), row, ["Show"]));
  }

  #make(row) {
    const card = makeCard(row, { store: this.#store });
    const item = h("li", null, card);
    this.#cards.set(item, card);
    return item;
  }
}

/** Fill the region: a button, and a panel that it opens. */
export function mount(section, store) {
  const { fields, peers, query, element } = makeFields();
  const results = new Results(store);
  const locked = h("p", { class: "hint" }, "The vault is locked: patients cannot be looked for.");
  const submit = h("button", { type: "submit", class: "primary" }, "Search");
  const shut = h("button", { type: "button" }, "Close");
  const panel = h("form", { id: "search-panel", class: "search-panel", novalidate: true, autocomplete: "off", hidden: true }, element, locked, h("div", { class: "actions" }, submit, shut), results.element);
  const opener = h("button", { type: "button", "aria-expanded": "false", "aria-controls": "search-panel" }, "Search transfers");
  const toggle = (open) => {
    panel.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) (fields.patient.disabled ? fields.peer : fields.patient).focus();
    else {
      panel.reset();
      results.begin(null);
      opener.focus();
    }
  };
  opener.addEventListener("click", () => toggle(panel.hidden));
  shut.addEventListener("click", () => toggle(false));
  panel.addEventListener("keydown", (event) => event.key === "Escape" && toggle(false));
  panel.addEventListener("submit", (event) => {
    event.preventDefault();
    results.begin(query());
  });
  section.append(opener, panel);
  store.subscribe("peers", (all) => patchList(peers, all, (peer) => peer.name, (peer) => h("option", { value: peer.name })));
  store.subscribe("status", (status) => {
    const closed = status?.vault?.locked === true;
    fields.patient.disabled = closed;
    locked.hidden = !closed;
  });
}
