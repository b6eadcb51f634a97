/** The newest records of the audit log, in words. */

import { h, patchList, setText, time, told } from "./dom.js";
import { escapeText, formatBytes, formatDuration, formatTime, isMoment } from "./format.js";
import { shortId } from "./transfers.js";

/** What the daemon puts into its log (medp2p/model.py, AuditEvent). */
export const EVENTS = {
  "pairing-open": "pairing code shown",
  "pairing-close": "pairing closed",
  pair: "paired",
  unpair: "peer removed",
  "verify-peer": "key words compared",
  policy: "policy changed",
  config: "settings changed",
  send: "send confirmed",
  offer: "offered",
  accept: "accepted",
  decline: "declined",
  seal: "sealed",
  check: "looked at after the seal",
  open: "opened",
  "release-begin": "release begun",
  release: "released",
  "release-to": "target of the release chosen",
  withdraw: "released folder removed",
  recall: "recall",
  destroy: "destroy asked or answered",
  cancel: "cancelled",
  discard: "discarded",
  verify: "read again",
  previewed: "previewed",
  expiring: "expires, or does not yet",
  expire: "expired",
  fail: "failed",
  abort: "broken off",
  "fact-refused": "statement refused",
  "reveal-label": "masked label shown",
  "target-add": "target added",
  "target-remove": "target removed",
  alarm: "alarm",
  acknowledge: "alarm acknowledged",
  strangers: "unknown keys refused",
  "page-opened": "page opened",
  "page-ended": "page ended",
  "page-refused": "address of the page refused",
};
const VIA = { cli: "command line", page: "page", rule: "by rule", peer: "by the peer" };
/** Records that are shown at once. */
const SHOWN = 8;

/** The latest time that a clock of the browser can show; a peer may tell any. */
const LATEST_MS = 8.64e15;

/** A value of a detail: a change as "new (before: old)". */
function valueText(value) {
  if (isMoment(value)) return formatTime(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === null || typeof value !== "object") return String(value ?? "default");
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  if ("from" in value && "to" in value) return `${valueText(value.to)} (before: ${valueText(value.from)})`;
  return Object.entries(value).map(([key, part]) => `${wordsOf(key)} ${valueText(part)}`).join(", ");
}

const wordsOf = (key) => key.replaceAll("_", " ");

/** A detail in words; "" for one that says nothing. */
function partText(key, value) {
  if (value == null || value === "" || (Array.isArray(value) && !value.length)) return "";
  if (key.endsWith("_ms") && Math.abs(value) <= LATEST_MS) return `${wordsOf(key.slice(0, -3))} ${formatTime(new Date(value))}`;
  if (key.endsWith("_seconds")) return value ? `${wordsOf(key.slice(0, -8))}: ${formatDuration(value)}` : "";
  if (key === "bytes") return formatBytes(value);
  if (key === "mapped") return value ? `renamed: ${value}` : "";
  return `${wordsOf(key)}: ${valueText(value)}`;
}

/**
 * The part of a detail that fits a line; the whole of it is in the log.
 * @param {object|null} detail
 * @returns {string} Not escaped.
 */
export function detailText(detail) {
  const parts = Object.entries(detail ?? {}).map(([key, value]) => partText(key, value));
  const text = parts.filter(Boolean).join("; ");
  return text.length > 160 ? `${text.slice(0, 160)} …` : text;
}

function make(record) {
  const actor = record.actor ?? {};
  const who = actor.operator ?? actor.os_user;
  const via = VIA[actor.via] ?? actor.via;
  const bad = record.damaged || (record.outcome && record.outcome !== "ok");
  const detail = detailText(record.detail);
  return h(
    "li",
    { class: "audit-item", data: { event: record.event } },
    h("p", { class: "audit-line" }, h("strong", null, escapeText((!bad && EVENTS[record.event]) || record.event || `record ${record.seq}`)), record.peer ? [" ", told(record.peer)] : null, bad ? [" ", h("span", { class: "badge bad" }, escapeText(record.damaged ? "damaged" : record.outcome))] : null, record.transfer ? [" ", h("code", { class: "muted" }, shortId(record.transfer))] : null),
    h("p", { class: "audit-by muted" }, time(record.time), " · ", who ? [told(who), ", "] : null, escapeText(via), detail ? [" · ", told(detail)] : null),
  );
}

/**
 * Fill the region.
 * @param {HTMLElement} section
 * @param {Store} store
 */
export function mount(section, store) {
  const first = h("ol", { class: "list audit-list" });
  const rest = h("ol", { class: "list audit-list" });
  const summary = h("summary");
  const more = h("details", { class: "more" }, summary, rest);
  section.append(first, more, h("p", { class: "hint" }, "All of it: ", h("code", null, "medp2p audit"), "; whether it is whole: ", h("code", null, "medp2p audit verify"), "."));
  store.subscribe("audit", (records) => {
    const newest = records.toReversed();
    patchList(first, newest.slice(0, SHOWN), (record) => record.seq, make);
    patchList(rest, newest.slice(SHOWN), (record) => record.seq, make);
    more.hidden = newest.length <= SHOWN;
    setText(summary, `${newest.length - SHOWN} more`);
  });
}
