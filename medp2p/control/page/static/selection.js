/** The first step of a send: to whom, which files, and what goes with them. */

import { field } from "./decisions.js";
import { escapeText, formatBytes, formatCount } from "./format.js";
import { h, setText } from "./dom.js";
import { pathsField } from "./browse.js";
import { typedFields } from "./expect.js";
import { recipientView } from "./recipient.js";
import { toldOf } from "./peer.js";
import { whoseView } from "./label.js";

const NOTE_CHARS = 4000;
/** Longest note, in UTF-8 bytes; the daemon checks it, after the look at the files. */
const NOTE_BYTES = 4096;

function peerSelect(store, wanted) {
  const options = (store.get("peers") ?? []).map((peer) => {
    const told = toldOf(peer).join(", ");
    const away = peer.online ? "" : ", not there now";
    return h("option", { value: peer.name }, escapeText(`${peer.name}${told ? ` (${told})` : ""}${away}`));
  });
  const none = h("option", { value: "" }, "choose a recipient");
  const select = h("select", { autofocus: true, required: true }, none, options);
  select.value = wanted ?? "";
  return select;
}

/** What is sent: files of this machine, or what an earlier transfer sent. */
function sources(given) {
  if (!given.again_of) return pathsField();
  const element = h("div", null, h("p", null, "The files of an earlier transfer, where they lie now:"), whoseView(given.label));
  return { element, take: async () => [] };
}

/**
 * Make the form of the first step.
 * @param {Store} store
 * @param {{peer?: string, again_of?: string, label?: object}} given
 * @returns {{element: Element, take: () => Promise<object>, progress: (scan: object|null) => void}}
 */
export function makeSelection(store, given) {
  const peer = peerSelect(store, given.peer);
  const recipient = h("div", { class: "recipient" });
  const paths = sources(given);
  const priority = h("select", null, h("option", { value: "routine" }, "routine"), h("option", { value: "stat" }, "STAT"));
  const note = h("textarea", { rows: 2, maxlength: NOTE_CHARS, spellcheck: "false" });
  const exclude = h("textarea", { rows: 2, spellcheck: "false", autocapitalize: "off", placeholder: "*.tmp" });
  const split = h("input", { type: "checkbox" });
  const addendum = h("input", { type: "text", maxlength: 26, spellcheck: "false", autocapitalize: "off" });
  const typed = typedFields("Files without a DICOM header");
  const progress = h("p", { class: "scan-progress", role: "status" });
  const follow = () => {
    const found = (store.get("peers") ?? []).find((one) => one.name === peer.value);
    recipient.replaceChildren(...(found ? [recipientView(found)] : []));
  };
  peer.addEventListener("change", follow);
  follow();
  const options = h(
    "details",
    { class: "more" },
    h("summary", null, "Options"),
    field("Leave out (patterns, one a line)", exclude, "*, ? and [...]; against the whole path and the last name."),
    h("label", { class: "choice" }, split, " Split by patient: one transfer for each"),
    given.again_of ? null : field("Addendum of (ID of an earlier transfer to this peer)", addendum, "Only what that transfer had not is sent."),
    typed.element,
  );
  const element = h(
    "div",
    { class: "selection" },
    field("Recipient", peer),
    recipient,
    paths.element,
    field("Priority", priority),
    field("Note for the receiver (may stay empty)", note, "Arrives on one line."),
    options,
    progress,
  );
  const take = async () => {
    if (!peer.value) {
      peer.focus();
      throw new Error("Choose a recipient.");
    }
    const chosen = await paths.take();
    if (!chosen.length && !given.again_of) {
      paths.control.focus();
      throw new Error("Choose files or folders: type a path, or browse.");
    }
    if (new TextEncoder().encode(note.value.trim()).length > NOTE_BYTES) {
      note.focus();
      throw new Error("The note is too long: shorten it.");
    }
    const wishes = {
      exclude: exclude.value.split("\n").map((line) => line.trim()).filter(Boolean),
      split: split.checked,
      ...typed.take(),
      allow: [],
      ...(given.again_of ? { again_of: given.again_of } : {}),
      ...(addendum.value.trim() ? { addendum_of: addendum.value.trim().toLowerCase() } : {}),
    };
    return { peer: peer.value, paths_b64: chosen.map((one) => one.path_b64), wishes, priority: priority.value, note: note.value.trim() };
  };
  return {
    element,
    take,
    progress: (scan) => setText(progress, scan ? `looking: ${formatCount(scan.files, "file")}, ${formatBytes(scan.bytes)}, headers read: ${(scan.inspected ?? 0).toLocaleString("en")}` : ""),
  };
}
