/**
 * Sending: choose a recipient and files, look at whose images they are and what was found, confirm
 * as the peer's settings want it, and queue. Nothing is sent before the last button.
 */

import { ApiError, api, url } from "./api.js";
import { formatCount } from "./format.js";
import { h } from "./dom.js";
import { makeConfirmation } from "./confirm.js";
import { makeSelection } from "./selection.js";
import { openDialog } from "./dialog.js";
import { say } from "./say.js";

/** Longer than the daemon holds back an answer that waits for news. */
const PATIENCE_MS = 90_000;
const LOOK = "Look at the files";
const AGAIN = "Look again";

/** Let the daemon walk the sources and read the headers; return the finished scan. */
async function look(order, onProgress, signal) {
  let scan = await api.post("/v1/scans", { peer: order.peer, paths_b64: order.paths_b64, wishes: order.wishes }, { signal });
  while (scan.state === "scanning") {
    onProgress(scan);
    scan = await api.get(url`/v1/scans/${scan.scan}${{ wait: 1 }}`, { signal, patience: PATIENCE_MS });
  }
  if (scan.error) throw new ApiError(200, scan.error);
  return scan;
}

/** One run through the steps. */
class Sending {
  #store;
  #dialog = null;
  #stop = new AbortController();
  #place = h("div", { class: "steps" });
  #selection;
  #order = null;
  #scan = null;
  #confirmation = null;
  #queued = [];

  constructor(store, given) {
    this.#store = store;
    this.#selection = makeSelection(store, given);
  }

  /** Open the dialog; the promise ends with it. */
  async run() {
    const rows = await openDialog({
      title: "Send to another workstation",
      wide: true,
      body: (dialog) => {
        this.#dialog = dialog;
        this.#place.append(this.#selection.element);
        return this.#place;
      },
      verb: LOOK,
      onConfirm: () => this.#go(),
    });
    this.#stop.abort();
    this.#place.replaceChildren();
    if (Array.isArray(rows)) say.politely(`queued: ${formatCount(rows.length, "transfer")} to ${rows[0].peer}`);
    this.#store.wish();
  }

  async #go() {
    if (this.#confirmation === null) return this.#look(await this.#selection.take());
    if (this.#confirmation.again) return this.#look({ ...this.#order, wishes: this.#confirmation.again() });
    return this.#send(this.#confirmation.take());
  }

  /** From a selection, or from what was changed in the second step, to the second step. */
  async #look(order) {
    try {
      const scan = await look(order, (found) => this.#selection.progress(found), this.#stop.signal);
      const peer = await api.get(url`/v1/peers/${order.peer}`, { signal: this.#stop.signal });
      this.#order = order;
      this.#scan = scan;
      this.#show(peer);
    } finally {
      this.#selection.progress(null);
    }
    return false;
  }

  #show(peer) {
    this.#queued = [];
    this.#confirmation = makeConfirmation(this.#scan, peer, this.#order.wishes);
    const title = h("h3", { tabindex: "-1", class: "step" }, this.#confirmation.again ? "Look at this first" : "Check, then send");
    const change = h("button", { type: "button", on: { click: () => this.#back() } }, "Change selection");
    this.#place.replaceChildren(h("div", { class: "actions" }, change), title, this.#confirmation.element);
    this.#dialog.setVerb(this.#confirmation.again ? AGAIN : "Send");
    // Recipient and label are looked at before the field that has the focus.
    (this.#confirmation.first ?? title).focus({ preventScroll: true });
    this.#place.parentElement.scrollTop = 0;
  }

  #back() {
    this.#confirmation = null;
    this.#dialog.setError(null);
    this.#dialog.setVerb(LOOK);
    this.#place.replaceChildren(this.#selection.element);
    this.#selection.element.querySelector("select").focus();
  }

  /** Queue all parts, or none as far as that can be known before. */
  async #send(confirmations) {
    const { scan, parts } = this.#scan;
    const { peer, note, priority } = this.#order;
    const missing = parts.filter((part) => !this.#queued.some((row) => row.part === part.part));
    const given = (part) => confirmations[parts.indexOf(part)];
    if (missing.length > 1) {
      for (const part of missing) await api.post(url`/v1/scans/${scan}/check`, { part: part.part, confirmation: given(part) });
    }
    for (const part of missing) {
      const row = await api.post("/v1/transfers", { scan, peer, note, priority, part: part.part, confirmation: given(part) });
      this.#queued.push({ part: part.part, ...row });
    }
    return this.#queued;
  }
}

/**
 * Open the dialog of a send.
 * @param {Store} store
 * @param {{peer?: string, again_of?: string, label?: object}} [given] What is chosen already.
 */
export function openSend(store, given = {}) {
  return new Sending(store, given).run();
}

/** Fill the region: a button that opens the dialog. */
export function mount(section, store) {
  const button = h("button", { type: "button", class: "primary", on: { click: () => openSend(store) } }, "Send");
  const hint = h("p", { class: "hint" });
  section.append(h("div", { class: "actions" }, button), hint);
  store.subscribe("peers", (peers) => {
    button.disabled = peers.length === 0;
    hint.textContent = peers.length ? "Files of this workstation. Whose images they are is shown and confirmed before anything leaves." : "No workstation is paired yet: pair one first.";
  });
}
