/** The paired workstations: who they are, whether they are there, and what they may do here. */

import { h, patchList, setAttribute, setChildren, setText, time, told } from "./dom.js";
import { closePairing, openJoin, openPairing, openVerify } from "./pairing.js";
import { comparedLongAgo, toldText } from "./peer.js";
import { Policy } from "./policy.js";

const ROUTES = { lan: "local network", fixed: "fixed address" };

let count = 0;
const parts = new WeakMap();

const pair = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));

function presence(peer) {
  if (peer.online) return [h("strong", { class: "good" }, "online"), peer.since ? [" since ", time(peer.since)] : null].flat();
  const since = peer.since ?? peer.last_seen;
  const why = peer.away ? [": ", told(peer.away)] : [];
  return [h("strong", null, "away"), ...(since ? [" since ", time(since)] : [", never seen"]), ...why];
}

function route(peer) {
  if (!peer.online || !peer.route) return "none now";
  return ROUTES[peer.route] ?? told(peer.route);
}

function verified(peer) {
  if (!peer.verified) return h("strong", { class: "bad" }, "never; compare the key words");
  return h("span", null, time(peer.verified), peer.verified_by ? [" by ", told(peer.verified_by)] : null, comparedLongAgo(peer) ? h("strong", { class: "bad" }, " long ago; compare again") : null);
}

function make(store, peer) {
  const name = `peer-${(count += 1)}`;
  const its = { peer, policy: new Policy(peer.name, store) };
  const verify = h("button", { type: "button", "aria-describedby": `${name}-title`, on: { click: () => openVerify(its.peer, store) } }, "Verify");
  Object.assign(its, {
    presence: h("p", { class: "presence" }),
    about: h("p", { class: "muted", title: "as it tells of itself" }),
    facts: h("dl", { class: "facts" }),
  });
  const item = h(
    "li",
    { data: { peer: peer.name }, class: "peer-item" },
    h(
      "article",
      { "aria-labelledby": `${name}-title` },
      h("header", { class: "peer-head" }, h("h3", { id: `${name}-title` }, told(peer.name)), its.presence),
      its.about,
      its.facts,
      its.policy.element,
      h("div", { class: "actions" }, verify),
    ),
  );
  parts.set(item, its);
  return item;
}

function update(item, peer) {
  const its = parts.get(item);
  its.peer = peer;
  setAttribute(item, "data-online", peer.online ? "yes" : "no");
  setChildren(its.presence, ...presence(peer));
  const said = toldText(peer);
  its.about.hidden = said.length === 0;
  setChildren(its.about, ...said.slice(1, -1));
  setChildren(its.facts, pair("Key words", told(peer.key_words, { class: "key-words" })), pair("Route", route(peer)), pair("Last verified", verified(peer)));
  its.policy.update(peer);
}

/** The pairing that is open, for who has closed its dialog or works in another tab. */
function pairingNotice(store) {
  const text = h("span");
  const notice = h(
    "div",
    { class: "notice", hidden: true },
    h("p", null, text),
    h("div", { class: "actions" }, h("button", { type: "button", on: { click: () => openPairing(store) } }, "Show code"), h("button", { type: "button", class: "quiet", on: { click: () => closePairing(store) } }, "Close pairing")),
  );
  store.subscribe("pairing", (state) => {
    notice.hidden = state?.state !== "open";
    if (!notice.hidden) setChildren(text, "A pairing code is shown until ", time(state.expires), ".");
  });
  return notice;
}

/**
 * Fill the region.
 * @param {HTMLElement} section
 * @param {Store} store
 */
export function mount(section, store) {
  const list = h("ul", { class: "list" });
  const empty = h("p", { class: "empty" }, "No peers yet. Pair shows a code here that is entered on the other workstation; Join enters one that is shown there.");
  const actions = h(
    "div",
    { class: "actions" },
    h("button", { type: "button", on: { click: () => openPairing(store) } }, "Pair"),
    h("button", { type: "button", on: { click: () => openJoin(store) } }, "Join"),
  );
  section.append(actions, pairingNotice(store), empty, list);
  store.subscribe("peers", (peers) => {
    empty.hidden = peers.length > 0;
    patchList(list, peers, (peer) => peer.name, (peer) => make(store, peer), update);
    setText(section.querySelector("h2"), peers.length ? `Peers (${peers.length})` : "Peers");
  });
}
