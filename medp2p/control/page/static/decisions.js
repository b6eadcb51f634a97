/**
 * What a person can do with a transfer: one function for each verb of `medp2p inbox` and
 * `medp2p outbox`. Accept and Verify act at once; what cannot be undone names patient and peer first.
 */

import { api, url } from "./api.js";
import { h, setText, time } from "./dom.js";
import { escapeText } from "./format.js";
import { openDialog } from "./dialog.js";
import { peerTitle } from "./peer.js";
import { shortId } from "./transfers.js";
import { preview } from "./preview.js";
import { release } from "./release.js";
import { showTransfer } from "./show.js";
import { whoseView } from "./label.js";

/** Milliseconds for what reads or writes a whole transfer. */
export const LONG_MS = 24 * 3_600_000;
/** Longest reason, in UTF-8 bytes; the daemon checks it. */
const REASON_CHARS = 1000;

let count = 0;

/** Return the address of an act on a transfer. */
export function actUrl(row, act) {
  return url`/v1/transfers/${row.id}/${act}`;
}

/**
 * A field of a dialog: label, control, and a hint below it.
 * @param {string} text Of the label.
 * @param {Element} control Gets an id.
 * @param {string} [hint]
 */
export function field(text, control, hint) {
  const name = `field-${(count += 1)}`;
  control.id = name;
  if (hint) control.setAttribute("aria-describedby", `${name}-hint`);
  return h("div", { class: "field" }, h("label", { for: name }, text), control, hint ? h("p", { class: "hint", id: `${name}-hint` }, hint) : null);
}

/** What has become of a transfer since its dialog came up: recalled by its sender, say. */
function meanwhile(row, store) {
  const place = h("p", { class: "warning", role: "status" });
  let shown = false;
  const stop = store.onEvent(({ transfer: now }) => {
    if (shown && !place.isConnected) return stop();
    shown ||= place.isConnected;
    if (now?.id === row.id && now.direction === row.direction) setText(place, now.state === row.state ? "" : `Meanwhile it is ${now.state}.`);
  });
  return place;
}

/**
 * Who and whose: the head of each dialog that decides something, with what becomes of it meanwhile.
 * @param {object} row
 * @param {Store} store
 * @returns {Node[]}
 */
export function aboutView(row, store) {
  const towards = row.direction === "in" ? "From " : "To ";
  return [
    h("div", { class: "about" }, h("p", { class: "about-peer" }, towards, peerTitle(store.get("peers"), row.peer), ", transfer ", h("code", null, shortId(row.id))), whoseView(row.label), meanwhile(row, store)),
  ];
}

async function accept(row, store) {
  const to = row.release_to_wanted?.();
  await api.post(actUrl(row, "accept"), to ? { release_to: to } : {});
  store.wish();
}

function decline(row, store) {
  const reason = h("input", { type: "text", maxlength: REASON_CHARS, autofocus: true, spellcheck: "false" });
  return openDialog({
    title: "Decline this transfer?",
    body: [...aboutView(row, store), h("p", null, "Nothing of it comes to this workstation; the sender is told."), field("Reason (may stay empty; told to the sender)", reason)],
    verb: "Decline",
    onConfirm: () => api.post(actUrl(row, "decline"), { reason: reason.value.trim() }),
  });
}

async function verify(row, store, on) {
  on.done("being read again, every byte …");
  try {
    await api.post(actUrl(row, "verify"), {}, { patience: LONG_MS });
    on.done("whole: every byte was read again and authenticated, ", time(new Date().toISOString()));
  } catch (error) {
    on.done();
    throw error;
  }
}

function discard(row, store) {
  const released = row.released ? " What was released stays where it is." : "";
  return openDialog({
    title: "Discard this transfer?",
    body: [...aboutView(row, store), h("p", null, `It is erased from this workstation and cannot be brought back; its record stays, and the sender is told.${released}`)],
    verb: "Discard",
    danger: true,
    onConfirm: () => api.post(actUrl(row, "discard")),
  });
}

function cancel(row, store) {
  return openDialog({
    title: "Cancel this transfer?",
    body: [...aboutView(row, store), h("p", null, "It ends here, and what has arrived of it is erased at the other workstation.")],
    verb: "Cancel",
    danger: true,
    onConfirm: () => api.post(actUrl(row, "cancel")),
  });
}

function recall(row, store) {
  const reason = h("input", { type: "text", maxlength: REASON_CHARS, autofocus: true, spellcheck: "false" });
  const text = row.released
    ? "It was released there already: a person there is asked to destroy all copies, and answers by name."
    : "The receiver erases it and answers with a signed fact. If it was released there before, a person is asked to destroy all copies.";
  return openDialog({
    title: "Recall this transfer?",
    body: [...aboutView(row, store), h("p", null, text), field("Reason (may stay empty; told to the receiver)", reason)],
    verb: "Recall",
    danger: true,
    onConfirm: () => api.post(actUrl(row, "recall"), { reason: reason.value.trim() }),
  });
}

function choice(name, value, text) {
  const radio = h("input", { type: "radio", name, value });
  return h("label", { class: "choice" }, radio, " ", text);
}

function answer(row, store) {
  const name = `answer-${(count += 1)}`;
  const by = h("input", { type: "text", maxlength: 64, spellcheck: "false" });
  const asked = row.recall?.reason;
  const choices = h(
    "fieldset",
    null,
    h("legend", null, "What has become of what was released?"),
    choice(name, "destroyed", "All of it is destroyed. The sealed copy in the vault is erased too."),
    choice(name, "kept", "It is kept."),
  );
  return openDialog({
    title: "Answer the request to destroy?",
    body: [
      ...aboutView(row, store),
      h("p", null, "Its sender has taken it back after it was released here, and asks to destroy all copies."),
      asked ? h("p", null, "Reason: ", escapeText(asked)) : null,
      choices,
      field("Who says so (empty: your account)", by),
    ].filter(Boolean),
    verb: "Answer",
    danger: true,
    onConfirm: () => {
      const said = choices.querySelector("input:checked")?.value;
      if (!said) throw new Error("Say whether it is destroyed or kept.");
      return api.post(actUrl(row, "answer"), { destroyed: said === "destroyed", by: by.value.trim() });
    },
  });
}

const ACTS = {
  Accept: accept,
  Decline: decline,
  Release: release,
  Verify: verify,
  Discard: discard,
  Cancel: cancel,
  Recall: recall,
  Answer: answer,
  Preview: preview,
  Show: showTransfer,
};

/**
 * Do what a verb says with a transfer, after its dialog where it has one.
 * @param {string} verb As on the button.
 * @param {object} row
 * @param {Store} store
 * @param {{error: (error: object|null) => void, done: (...children: any[]) => void, over: (...children: any[]) => void}} on What is told beside the button; over: in the place of the card, once that has gone.
 * @throws {ApiError} The daemon refused it.
 */
export async function perform(verb, row, store, on) {
  await ACTS[verb](row, store, on);
}
