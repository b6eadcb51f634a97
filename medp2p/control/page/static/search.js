/** Looking for transfers by peer, date, state and, with the vault open, patient. */

import { STATES, formatCount } from "./format.js";
import { api, url } from "./api.js";
import { field } from "./decisions.js";
import { errorPlace, h, patchList, setAttribute, setText, showError } from "./dom.js";
import { keyOf } from "./store.js";
import { makeCard, updateCard } from "./transfers.js";

const LIMIT = 30;
const PATIENT = "Patient: name or ID";

function choices(pairs) {
  return pairs.map(([value, text]) => h("option", { value }, text));
}

/** The fields, and what they hold as a query. */
function makeFields() {
  const input = (type, more) => h("input", { type, spellcheck: "false", autocomplete: "off", ...more });
  const peers = h("datalist", { id: "search-peers" });
  const fields = {
    patient: input("search", { maxlength: 200, "aria-label": PATIENT, placeholder: PATIENT }),
    peer: input("text", { maxlength: 63, list: "search-peers", autocapitalize: "off" }),
    direction: h("select", null, choices([["", "inbox and outbox"], ["in", "inbox"], ["out", "outbox"]])),
    state: h("select", null, choices([["", "any"], ...Object.keys(STATES).map((word) => [word, word])])),
    from: input("date"),
    to: input("date"),
  };
  const labels = { peer: "Peer", direction: "Box", state: "State", from: "From day", to: "To day" };
  const elements = Object.entries(labels).map(([name, text]) => field(text, fields[name]));
  const query = () => Object.fromEntries(Object.entries(fields).map(([name, control]) => [name, control.value.trim()]));
  return { fields, peers, query, others: h("div", { class: "fields" }, elements) };
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
    this.element = h("div", { class: "results" }, h("h2", { class: "sr-only" }, "Found"), this.#alert, this.#count, this.#list, h("div", { class: "actions" }, this.#more));
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

/** Fill the region: the field for a patient, the other fields behind it, and what was found. */
export function mount(section, store) {
  const { fields, peers, query, others } = makeFields();
  const results = new Results(store);
  const shut = h("button", { type: "button", class: "quiet", hidden: true }, "Close");
  const filters = h("details", { class: "search-filters" }, h("summary", null, "Peer, date, state"), others, peers);
  const form = h("form", { class: "search-form", novalidate: true, autocomplete: "off" }, fields.patient, h("button", { type: "submit" }, "Search"), filters, shut);
  const panel = h("div", { class: "search-panel", hidden: true }, results.element);
  const toggle = (open) => {
    panel.hidden = !open;
    shut.hidden = !open;
    if (open) return;
    form.reset();
    filters.open = false;
    results.begin(null);
    fields.patient.focus();
  };
  shut.addEventListener("click", () => toggle(false));
  section.addEventListener("keydown", (event) => event.key === "Escape" && toggle(false));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    toggle(true);
    results.begin(query());
  });
  section.append(form, panel);
  store.subscribe("peers", (all) => patchList(peers, all, (peer) => peer.name, (peer) => h("option", { value: peer.name })));
  store.subscribe("status", (status) => {
    const closed = status?.vault?.locked === true;
    fields.patient.disabled = closed;
    setAttribute(fields.patient, "placeholder", closed ? "vault locked: no patients" : PATIENT);
  });
}
