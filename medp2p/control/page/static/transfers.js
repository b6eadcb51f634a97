/**
 * The card of a transfer: whose images, from or to whom, its state in the words of the design, and
 * the buttons of what can be done with it. Made once and patched in place.
 */

import { briefView, gistView, offerView } from "./label.js";
import { coded, errorPlace, h, setAttribute, setChildren, setText, showError, time, told } from "./dom.js";
import { escapeText, formatBytes, formatCount, stateText } from "./format.js";
import { inPageWords } from "./hints.js";
import { peerTitle } from "./peer.js";
import { perform } from "./decisions.js";

const SHORT = 8;
const WHOLE = ["sealed", "releasing", "released", "expiring"];
const ENDED = ["declined", "recalled", "cancelled", "expired", "discarded", "failed"];
/** What a recall has led to, where asking once more would change nothing. */
const RECALL_ANSWERED = ["recalling", "recalled", "destroy-asked"];
const PRIMARY = ["Accept", "Release", "Answer"];
const DANGER = ["Discard", "Cancel", "Recall"];

let cards = 0;
const parts = new WeakMap();

/** Return the part of an id that people use. */
export function shortId(id) {
  return escapeText(id).slice(0, SHORT);
}

/** Whether the stream of a transfer is whole at the receiver. */
export function isWhole(row) {
  return WHOLE.includes(row.state);
}

/** Whether nothing happens to a transfer any more. */
export function isEnded(row) {
  return ENDED.includes(row.state);
}

/**
 * Return the verbs that can be done with a transfer now, the first one first.
 * @param {object} row
 * @returns {string[]}
 */
export function verbsOf(row) {
  const { state } = row;
  if (row.direction === "in") {
    if (state === "offered") return ["Accept", "Decline"];
    if (row.held?.code === "destroy-asked") return state === "releasing" ? [] : ["Answer"];
    if (["sealed", "expiring", "released"].includes(state)) return ["Release", "Preview", "Verify", "Discard"];
    return ["accepted", "receiving", "paused"].includes(state) ? ["Discard"] : [];
  }
  if (isWhole(row)) return row.reason?.code === "destroy-asked" ? [] : ["Recall"];
  if (["cancelled", "failed"].includes(state)) return row.sealed && !RECALL_ANSWERED.includes(row.reason?.code) ? ["Recall"] : [];
  return isEnded(row) || state === "recalling" ? [] : ["Cancel"];
}

/**
 * Make the card of a transfer.
 * @param {object} row
 * @param {object} options
 * @param {Store} options.store
 * @param {boolean} [options.full] The whole label; else the first patient, and counts.
 * @param {Element|null} [options.extra] Put above the buttons.
 * @returns {HTMLElement}
 */
export function makeCard(row, { store, full = false, extra = null }) {
  const name = `transfer-${(cards += 1)}`;
  const its = {
    store,
    full,
    row,
    shown: new Map(),
    stat: h("span", { class: "badge stat" }, "STAT"),
    peer: h("span", { class: "peer" }),
    state: h("span", { class: "state-word" }),
    whose: h("div", { id: `${name}-whose`, class: "card-whose" }),
    offer: h("div", { class: "card-offer" }),
    note: h("p", { class: "note" }),
    facts: h("p", { class: "card-facts" }),
    times: h("ul", { class: "times" }),
    why: h("div", { class: "why" }),
    alert: errorPlace(),
    done: h("p", { class: "done", role: "status" }),
    actions: h("div", { class: "actions" }),
    describedBy: `${name}-title ${name}-whose`,
  };
  const title = h("h3", { id: `${name}-title` }, its.stat, row.direction === "in" ? "from " : "to ", its.peer);
  const card = h(
    "article",
    { class: "card transfer", "aria-labelledby": `${name}-title`, data: { transfer: row.id, direction: row.direction } },
    h("header", { class: "card-head" }, title, its.state),
    its.whose,
    // Apart, so that buttons that stay in sight never cover whose images these are, and what was found.
    h("div", { class: "card-rest" }, its.offer, its.note, h("div", { class: "card-meta" }, its.facts, its.times), its.why, extra, its.alert, its.done, its.actions),
  );
  its.card = card;
  parts.set(card, its);
  return card;
}

/** Make something anew only when what it is made of has changed. */
function show(its, slot, value, make) {
  const before = its.shown.get(slot);
  if (before && before.value === value) return; // an event leaves the label of the snapshot as it was
  const text = JSON.stringify(value) ?? "";
  its.shown.set(slot, { value, text });
  if (before?.text === text) return;
  its[slot].replaceChildren(...[make(value)].flat().filter((node) => node !== null));
  its[slot].hidden = !its[slot].hasChildNodes();
}

/**
 * Bring a card up to date.
 * @param {HTMLElement} card From makeCard.
 * @param {object} row
 * @param {string[]} [verbs] Its buttons; default: all that can be done, and "Show".
 */
export function updateCard(card, row, verbs = [...verbsOf(row), "Show"]) {
  const its = parts.get(card);
  if (its.row.state !== row.state && !its.busy) its.done.replaceChildren(); // it was about another state
  its.row = row;
  setAttribute(card, "data-state", row.state);
  setAttribute(card, "data-why", row.why ?? null);
  its.stat.hidden = row.priority !== "stat";
  setChildren(its.peer, peerTitle(its.store.get("peers"), row.peer));
  setText(its.state, row.state);
  setAttribute(its.state, "title", stateText(row) || null);
  const label = row.label ?? (row.label === null ? 0 : 1);
  show(its, "whose", label, () => (its.full ? gistView(row.label) : briefView(row.label)));
  show(its, "offer", its.full ? label : 0, () => (its.full ? offerView(row.label) : null));
  show(its, "note", row.note || null, (note) => (note ? [h("span", { class: "fact-name" }, "note "), told(note)] : []));
  show(its, "facts", [row.id, row.files, row.bytes, row.skipped], () => factsLine(row));
  show(its, "times", timesOf(row), timeItems);
  show(its, "why", [row.reason, row.held, row.error, row.recall, row.released_to, row.expires, row.state], () => whyLines(row));
  patchVerbs(its, verbs);
}

function factsLine(row) {
  const skipped = row.skipped ? `, ${formatCount(row.skipped, "entry", "entries")} skipped` : "";
  return [`${formatCount(row.files, "file")}, ${formatBytes(row.bytes)}${skipped}, `, h("code", { title: `transfer ${escapeText(row.id)}` }, shortId(row.id))];
}

/** The times that tell where a transfer stands: pairs of a word and a time. */
function timesOf(row) {
  return [
    [row.direction === "in" ? "offered" : "queued", row.created],
    ["sealed", row.sealed],
    ["opened", row.opened],
    ["previewed", row.previewed],
    ["released", row.released],
    [row.state, isEnded(row) ? row.finished : null],
    ["expires", isEnded(row) || row.released || row.state === "expiring" ? null : row.expires],
  ].filter(([, at]) => at);
}

function timeItems(times) {
  return times.map(([word, at]) => h("li", { data: { fact: word } }, `${word} `, time(at)));
}

/** A text of the daemon in words of the page; it may hold what a peer told. */
function ofDaemon(text) {
  return h("bdi", { dir: "auto" }, coded(inPageWords(text)));
}

/** Why it waits, is held, or what went wrong; with since, and what to do. */
function whyLines(row) {
  const since = (at) => (at ? h("span", { class: "muted" }, " since ", time(at)) : null);
  const lines = [];
  if (row.held) lines.push(h("p", { class: "held" }, h("strong", null, "HELD: "), told(row.held.text || row.held.code), since(row.held.since)));
  if (row.recall?.reason) lines.push(h("p", { class: "reason" }, "reason of the sender: ", told(row.recall.reason)));
  if (row.error) {
    lines.push(h("p", { class: "warning" }, told(row.error.text || row.error.code)));
    if (row.error.hint) lines.push(h("p", { class: "hint" }, ofDaemon(row.error.hint)));
  }
  const same = row.error && row.reason && row.error.text?.endsWith(row.reason.text);
  if (row.reason && !same) lines.push(h("p", { class: "reason" }, ofDaemon(row.reason.text || row.reason.code), since(row.reason.since)));
  if (row.released_to) lines.push(h("p", { class: "reason" }, "released to ", told(placeOf(row.released_to), { class: "path" })));
  if (row.state === "expiring") lines.push(h("p", { class: "warning" }, "Nobody has released it in time; it will be erased unless somebody does. Its date was ", time(row.expires)));
  return lines;
}

/** The folder of a release, however the API tells it. */
export function placeOf(place) {
  return typeof place === "object" ? (place.path ?? place.folder) : place;
}

function makeButton(its, verb) {
  const click = (event) => act(its, verb, event.currentTarget);
  return h("button", { type: "button", "aria-describedby": its.describedBy, data: { verb }, on: { click } }, verb);
}

/** How a button looks: what is wanted next stands out; what was done already does not. */
function kindOf(verb, row) {
  if (DANGER.includes(verb)) return "danger-quiet";
  return PRIMARY.includes(verb) && !row.released ? "primary" : verb === "Answer" ? "primary" : null;
}

/** Bring the buttons into line; those that stay keep their place and focus. */
function patchVerbs(its, verbs) {
  for (const button of [...its.actions.children]) if (!verbs.includes(button.dataset.verb)) button.remove();
  let place = its.actions.firstElementChild;
  for (const verb of verbs) {
    if (place?.dataset.verb === verb) place = place.nextElementSibling;
    else its.actions.insertBefore(makeButton(its, verb), place);
  }
  for (const button of its.actions.children) {
    const kind = kindOf(button.dataset.verb, its.row);
    for (const name of ["primary", "danger-quiet"]) button.classList.toggle(name, name === kind);
  }
}

/** Do what a button says, once, and tell on the card what came of it. */
async function act(its, verb, button) {
  if (its.busy) return;
  const on = {
    error: (error) => showError(its.alert, error),
    done: (...children) => setChildren(its.done, children),
    over: (...children) => its.card.dispatchEvent(new CustomEvent("done-with", { detail: children })),
  };
  on.error(null);
  on.done();
  its.busy = true;
  setAttribute(button, "aria-disabled", "true"); // not disabled: the focus would be lost
  try {
    await perform(verb, its.row, its.store, on);
  } catch (error) {
    on.error(error);
  } finally {
    its.busy = false;
    setAttribute(button, "aria-disabled", null);
  }
}
