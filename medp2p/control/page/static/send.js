/**
 * Sending: choose a recipient and files, look at whose images they are and what was found, confirm
 * as the peer's settings want it, and queue. Nothing is sent before the last button.
 */

import { ApiError, api, url } from "./api.js";
import { escapeText, formatCount } from "./format.js";
import { errorPlace, h, moving, setAttribute, showError } from "./dom.js";
import { makeConfirmation } from "./confirm.js";
import { makeSelection } from "./selection.js";
import { openDialog } from "./dialog.js";
import { lasting, say } from "./say.js";

/** Longer than the daemon holds back an answer that waits for news. */
const PATIENCE_MS = 90_000;
const LOOK = "Look at the files";
const AGAIN = "Look again";

/** Where stands what became of a send after its dialog was closed; there is none when the session is over. */
const afterwards = () => document.querySelector('[data-region="send"] [data-after]');

/** For so long the cards above may come that push a sentence out of sight, milliseconds. */
const COMING_MS = 3000;

/** Scroll to a sentence if it cannot be seen, also once the cards of what was queued have come above it. */
function stayInSight(said, store) {
  const show = () => moving(() => said.scrollIntoView({ block: "nearest" }));
  show();
  const before = new Set(store.get("active").map((row) => row.id));
  const stop = store.subscribe("active", (rows) => {
    if (rows.some((row) => !before.has(row.id))) requestAnimationFrame(show);
  });
  setTimeout(stop, COMING_MS);
}

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
  #change = h("button", { type: "button", on: { click: () => this.#back() } }, "Change selection");
  #queued = [];
  #running = null;
  #session;

  constructor(store, given) {
    this.#store = store;
    this.#session = store.signal;
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
      onConfirm: () => (this.#running = this.#go()),
    });
    this.#stop.abort();
    this.#place.replaceChildren();
    await this.#running?.catch(() => {}); // told already: in the dialog, or by #tellError
    if (this.#session.aborted) return;
    if (Array.isArray(rows)) this.#tell(`queued: ${formatCount(rows.length, "transfer")} to ${rows[0].peer}`);
    else this.#tellQueued();
    this.#store.wish();
  }

  /** Say what was queued below the button "Send", until it is dismissed or the next send begins. */
  #tell(text) {
    const said = lasting(escapeText(text));
    afterwards()?.append(said);
    say.politely(text);
    stayInSight(said, this.#store);
  }

  /** Closing asks for nothing more, and does not call back what was asked for. */
  get #closed() {
    return !this.#dialog.element.open;
  }

  /** What is queued although not all of it was. */
  get #partly() {
    const all = this.#scan.parts.length;
    const count = this.#queued.length < all ? `${this.#queued.length} of ` : "";
    return `${count}${formatCount(all, "transfer")} to ${this.#order.peer}; Cancel takes back what was queued`;
  }

  #tellQueued() {
    if (!this.#queued.length) return;
    this.#tell(`queued before the dialog was closed: ${this.#partly}`);
  }

  /** Nothing else shows an error that came after the dialog was closed. */
  #tellError(error) {
    if (!this.#closed || this.#session.aborted || !(error instanceof ApiError)) return;
    const alert = errorPlace();
    afterwards()?.append(alert);
    showError(alert, error);
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
    this.#place.replaceChildren(h("div", { class: "actions" }, this.#change), title, this.#confirmation.element);
    this.#dialog.setVerb(this.#confirmation.again ? AGAIN : "Send");
    // Recipient and label are looked at before the field that has the focus.
    (this.#confirmation.first ?? title).focus({ preventScroll: true });
    this.#place.parentElement.scrollTop = 0;
  }

  #back() {
    this.#confirmation = null;
    this.#dialog.setError(this.#queued.length ? { text: `Queued already: ${this.#partly}.` } : null);
    this.#dialog.setVerb(LOOK);
    this.#place.replaceChildren(this.#selection.element);
    this.#selection.element.querySelector("select").focus();
  }

  async #send(confirmations) {
    setAttribute(this.#change, "disabled", true); // another selection would be sent beside this one
    try {
      await this.#queue(confirmations);
    } catch (error) {
      this.#tellError(error);
      throw error;
    } finally {
      setAttribute(this.#change, "disabled", null);
    }
    return this.#queued;
  }

  /** Queue all parts, or none as far as that can be known before. */
  async #queue(confirmations) {
    const { signal } = this.#stop;
    const { scan, parts } = this.#scan;
    const { peer, note, priority } = this.#order;
    const missing = parts.filter((part) => !this.#queued.some((row) => row.part === part.part));
    const given = (part) => confirmations[parts.indexOf(part)];
    if (missing.length > 1) {
      for (const part of missing) await api.post(url`/v1/scans/${scan}/check`, { part: part.part, confirmation: given(part) }, { signal });
    }
    for (const part of missing) {
      if (this.#closed) return;
      // Not given up with the dialog: nobody would know whether it was queued.
      const row = await api.post("/v1/transfers", { scan, peer, note, priority, part: part.part, confirmation: given(part) });
      this.#queued.push({ part: part.part, ...row });
    }
  }
}

/**
 * Open the dialog of a send.
 * @param {Store} store
 * @param {{peer?: string, again_of?: string, label?: object}} [given] What is chosen already.
 */
export function openSend(store, given = {}) {
  afterwards()?.replaceChildren();
  return new Sending(store, given).run();
}

/** Fill the region: a button that opens the dialog. */
export function mount(section, store) {
  const button = h("button", { type: "button", class: "primary", on: { click: () => openSend(store) } }, "Send");
  const hint = h("p", { class: "hint" });
  section.append(h("div", { class: "actions" }, button), h("div", { class: "why", data: { after: "send" } }), hint);
  store.subscribe("peers", (peers) => {
    button.disabled = peers.length === 0;
    hint.textContent = peers.length ? "Files of this workstation. Whose images they are is shown and confirmed before anything leaves." : "No workstation is paired yet: pair one first.";
  });
}
