/** Workstations that mDNS shows: a name that anyone may claim, so nothing but a way to pair. */

import { h, patchList, setChildren, told } from "./dom.js";
import { openJoin, openPairing } from "./pairing.js";

let count = 0;
const parts = new WeakMap();

function make(store, seen) {
  const name = `nearby-${(count += 1)}`;
  const its = { seen, state: h("p", { class: "muted" }), actions: h("div", { class: "actions" }) };
  const item = h(
    "li",
    { class: "item nearby-item" },
    h("div", null, h("h3", { id: `${name}-title` }, told(seen.name)), its.state),
    its.actions,
  );
  its.title = `${name}-title`;
  parts.set(item, its);
  update(store, item, seen);
  return item;
}

function update(store, item, seen) {
  const its = parts.get(item);
  its.seen = seen;
  const where = seen.addresses.map((address) => [" ", h("code", null, told(address))]);
  const words = seen.peer ? ["paired as ", told(seen.peer)] : [seen.pairing ? "shows a pairing code" : "not paired"];
  setChildren(its.state, ...words, seen.addresses.length ? " ·" : "", ...where.flat());
  const verb = seen.peer ? null : seen.pairing ? "Join" : "Pair";
  const act = () => (verb === "Join" ? openJoin(store, its.seen.pairing) : openPairing(store));
  patchList(its.actions, verb ? [verb] : [], (word) => word, (word) => h("button", { type: "button", "aria-describedby": its.title, on: { click: act } }, word));
}

/**
 * Fill the region.
 * @param {HTMLElement} section
 * @param {Store} store
 */
export function mount(section, store) {
  const list = h("ul", { class: "list" });
  const empty = h("p", { class: "empty" }, "Nobody is in sight in this network. A workstation elsewhere is paired by its address: Join.");
  section.append(empty, list);
  store.subscribe("nearby", (all) => {
    empty.hidden = all.length > 0;
    patchList(list, all, (seen) => seen.fingerprint, (seen) => make(store, seen), (item, seen) => update(store, item, seen));
  });
}
