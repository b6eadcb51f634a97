/** Everything about one transfer, as `medp2p inbox show` and `outbox show` have it. */

import { api, url } from "./api.js";
import { checkView } from "./label.js";
import { escapeText, formatBytes, formatCount, isMoment, stateText } from "./format.js";
import { h, setChildren, time, told } from "./dom.js";
import { makeCard, shortId, updateCard, verbsOf } from "./transfers.js";
import { openDialog } from "./dialog.js";
import { openSend } from "./send.js";

/** Changes that come together are fetched together, milliseconds. */
const SETTLE_MS = 300;
const ENTRIES_SHOWN = 1000;

/** Details whose name says too little. */
const DETAILS = { opened: "first opened or previewed there" };

function factLine(fact) {
  const value = (one) => (isMoment(one) ? time(one) : told(one));
  const said = Object.entries(fact.detail ?? {}).map(([key, one]) => [`; ${DETAILS[key] ?? escapeText(key.replaceAll("_", " "))}: `, value(one)]);
  return h("li", { data: { fact: fact.fact } }, h("strong", null, escapeText(fact.fact)), " by ", told(fact.by), ", ", time(fact.time), fact.acknowledged === false ? ", not told yet" : null, said);
}

function named(word, value) {
  return value ? [h("dt", null, word), h("dd", null, value)] : null;
}

function detailsView(row) {
  const adds = row.addenda?.length ? row.addenda.map((id) => [h("code", null, escapeText(id)), " "]) : null;
  return [
    checkView(row.check),
    h("h3", null, "Signed facts"),
    row.facts?.length ? h("ul", { class: "facts" }, row.facts.map(factLine)) : h("p", { class: "muted" }, "none yet"),
    h("h3", null, "More"),
    h(
      "dl",
      { class: "details" },
      named("transfer", h("code", null, escapeText(row.id))),
      named("state", `${row.state}: ${stateText(row)}`),
      named("decided", time(row.decided)),
      named("looked at", time(row.checked)),
      named("finished", time(row.finished)),
      named("root", row.root ? h("code", { class: "path" }, escapeText(row.root)) : null),
      named("adds to", row.addendum_of ? h("code", null, escapeText(row.addendum_of)) : null),
      named("addenda", adds),
    ),
  ].filter(Boolean);
}

function entryLine(entry) {
  return h("li", null, told(entry.path, { class: "path" }), " ", h("span", { class: "muted" }, entry.kind === "file" ? `${formatBytes(entry.bytes)}, ` : "folder, ", time(entry.mtime)));
}

/** The manifest and what was left out, fetched when it is opened for the first time. */
function filesView(row) {
  const place = h("div", { role: "status" });
  const details = h("details", { class: "more" }, h("summary", null, "Files"), place);
  const fill = async () => {
    place.replaceChildren("being fetched …");
    try {
      const full = await api.get(url`/v1/transfers/${row.id}${{ direction: row.direction, entries: 1 }}`);
      const entries = full.entry_list ?? [];
      const skipped = (full.skipped_entries ?? []).map((one) => h("li", null, "skipped, ", told(one.why), ": ", told(one.path, { class: "path" })));
      const more = entries.length - ENTRIES_SHOWN;
      place.replaceChildren(h("ul", { class: "files" }, entries.slice(0, ENTRIES_SHOWN).map(entryLine), more > 0 ? h("li", { class: "muted" }, `and ${formatCount(more, "more entry", "more entries")}`) : null, skipped));
      if (!entries.length && !skipped.length) place.replaceChildren("The list of files is not kept, or is not here yet.");
    } catch (error) {
      place.replaceChildren(escapeText(error.text ?? error.message));
    }
  };
  details.addEventListener("toggle", () => details.open && fill(), { once: true });
  return details;
}

/** Give the browser a file to keep. */
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.download = name;
  link.href = address;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function proofButton(row, dialog, label) {
  const click = async () => {
    dialog.setError(null);
    try {
      const proof = await api.get(url`/v1/transfers/${row.id}/proof${{ label: label ? 1 : null }}`);
      download(`medp2p-proof-${shortId(row.id)}.json`, `${JSON.stringify(proof, null, 1)}\n`);
    } catch (error) {
      dialog.setError(error);
    }
  };
  return h("button", { type: "button", on: { click } }, label ? "Proof with label" : "Proof");
}

function proofView(row, dialog) {
  return h(
    "div",
    null,
    h("p", { class: "hint" }, "A proof holds the signed facts, for ", h("code", null, "medp2p verify-proof"), ". With the label it holds patient data, and the facts in which a person gave a reason."),
    h("div", { class: "actions" }, proofButton(row, dialog, false), proofButton(row, dialog, true)),
  );
}

/**
 * Show a transfer in a dialog, and keep it up to date there.
 * @param {object} row
 * @param {Store} store
 */
export async function showTransfer(row, store) {
  const address = url`/v1/transfers/${row.id}${{ direction: row.direction }}`;
  const first = await api.get(address);
  const card = makeCard(first, { store, full: true });
  const details = h("div", { class: "show-details", tabindex: "-1" });
  const again = h("button", { type: "button" }, "Again");
  let timer = null;
  const fill = (full) => {
    updateCard(card, full, verbsOf(full));
    const focused = details.contains(document.activeElement);
    setChildren(details, ...detailsView(full));
    if (focused && !details.contains(document.activeElement)) details.focus();
  };
  const refresh = async () => {
    timer = null;
    try {
      fill(await api.get(address));
    } catch {
      // Shown as it was: the next change asks again.
    }
  };
  const stop = store.onEvent((event) => {
    if (event.event !== "transfer" || event.transfer.id !== row.id) return;
    timer ??= setTimeout(refresh, SETTLE_MS);
  });
  fill(first);
  await openDialog({
    title: row.direction === "in" ? "Transfer of the inbox" : "Transfer of the outbox",
    wide: true,
    body: (dialog) => {
      again.addEventListener("click", () => {
        dialog.close();
        openSend(store, { again_of: row.id, label: first.label });
      });
      const resend = row.direction === "out" ? h("div", { class: "actions" }, again, h("span", { class: "hint" }, "sends the same files to another peer, confirmed anew")) : null;
      return [card, details, filesView(row), resend, proofView(row, dialog)].filter(Boolean);
    },
  });
  stop();
  clearTimeout(timer);
}
