/** What a peer may do here: its settings as select boxes and fields (`peers set` of the command line). */

import { api, url } from "./api.js";
import { field } from "./decisions.js";
import { errorPlace, h, setAttribute, setChildren, showError, told } from "./dom.js";
import { escapeText } from "./format.js";

/** A choice is sent when it has stood for so long: arrow keys pass through what lies between. */
const SETTLE_MS = 600;
const FOLDER = "folder:";

/** Settings with a few values: label, then value and what it means; the first is the default. */
const CHOICES = {
  accept: ["Offers (accept)", [["ask", "ask: a person decides"], ["auto", "auto: taken without asking"], ["block", "block: refused"]]],
  release: ["Once sealed (release)", [["manual", "manual: a person releases"], ["folder", "folder: unpacked by rule"]]],
  confirm: ["Sending to it (confirm)", [["typed", "typed: something of the patient is typed"], ["expect", "expect: whose images they are is given"], ["none", "none: the name of the recipient"]]],
  domain: ["Organisation (domain)", [["internal", "internal: this organisation"], ["external", "external: another one"]]],
  "allow-mixed": ["Several patients (allow-mixed)", [["no", "no: never in one transfer"], ["yes", "yes: where it is said"]]],
};
/** Settings that are typed: label and hint. */
const TYPED = {
  "max-bytes": ["Largest offer taken without asking", "such as 20 GB; empty: no limit"],
  "max-files": ["Most files taken without asking", "empty: no limit"],
  "accept-until": ["Taken without asking until", "YYYY-MM-DD; empty: no end"],
  address: ["Fixed addresses", "ADDR:PORT, separated by commas"],
  undo: ["Time to undo a send", "seconds; empty: the default"],
  phone: ["Phone", "shown when sending to it"],
  allow: ["Findings that may be let pass", "codes, separated by commas"],
};

/**
 * Make the select box of a setting.
 * @param {string} key
 * @returns {HTMLSelectElement}
 */
export function choiceBox(key) {
  const [, values] = CHOICES[key];
  return h("select", { data: { setting: key } }, values.map(([value, text]) => h("option", { value }, text)));
}

/** What the form shows for a setting of a peer. */
function valueOf(peer, key) {
  if (key === "address") return peer.addresses.join(",");
  const value = peer.settings[key] ?? "";
  if (key === "release" && value.startsWith(FOLDER)) return "folder";
  return value || (CHOICES[key]?.[1][0][0] ?? "");
}

/** The settings of one peer; patched in place. */
export class Policy {
  #name;
  #store;
  #peer = null;
  #controls = new Map();
  #timers = new Map();
  #said = h("p", { class: "done", role: "status" });
  #alert = errorPlace();
  #folder = h("input", { type: "text", spellcheck: "false", autocomplete: "off", maxlength: 4096 });
  #folderForm;
  /** "folder" is chosen, and no folder is set yet. */
  #unstored = false;

  /**
   * @param {string} name Of the peer.
   * @param {Store} store
   */
  constructor(name, store) {
    this.#name = name;
    this.#store = store;
    this.#folderForm = h(
      "form",
      { class: "inline", on: { submit: (event) => this.#setFolder(event), focusout: () => this.#leave() } },
      field("Folder on this workstation", this.#folder, "an absolute path"),
      h("button", { type: "submit" }, "Set folder"),
    );
    this.element = h(
      "div",
      { class: "policy" },
      h("div", { class: "fields" }, this.#choice("accept"), this.#choice("release")),
      this.#folderForm,
      h("details", { class: "more" }, h("summary", null, "More settings"), this.#more()),
      h("div", { class: "policy-said" }, this.#said, this.#alert),
    );
  }

  /** Show the settings as they are now; what somebody is changing stays. */
  update(peer) {
    this.#peer = peer;
    for (const [key, control] of this.#controls) {
      const value = valueOf(peer, key);
      if (this.#timers.has(key) || (document.activeElement === control && control.dataset.touched)) continue;
      if (control.dataset.shown === value) continue;
      control.dataset.shown = value;
      control.value = value;
    }
    if (this.#unstored && valueOf(peer, "release") === "folder") {
      this.#unstored = false;
      this.#tell();
    }
    this.#updateFolder(peer);
  }

  #updateFolder(peer) {
    const release = peer.settings.release ?? "";
    const folder = release.startsWith(FOLDER) ? release.slice(FOLDER.length) : "";
    if (document.activeElement !== this.#folder && this.#folder.dataset.shown !== folder) {
      this.#folder.dataset.shown = this.#folder.value = folder;
    }
    this.#showFolder();
  }

  #choice(key) {
    const [label] = CHOICES[key];
    const select = choiceBox(key);
    select.addEventListener("change", () => this.#changed(key, select));
    select.addEventListener("blur", () => this.#timers.get(key)?.());
    if (key === "release") select.addEventListener("blur", () => this.#leave());
    this.#controls.set(key, select);
    return field(label, select);
  }

  #more() {
    const inputs = Object.entries(TYPED).map(([key, [label, hint]]) => {
      const input = h("input", { type: "text", maxlength: 4096, spellcheck: "false", autocomplete: "off", data: { setting: key } });
      input.addEventListener("input", () => (input.dataset.touched = "yes"));
      this.#controls.set(key, input);
      return field(label, input, hint);
    });
    const save = h("button", { type: "submit" }, "Save");
    const choices = ["confirm", "domain", "allow-mixed"].map((key) => this.#choice(key));
    return h("form", { on: { submit: (event) => this.#saveTyped(event) } }, h("div", { class: "fields" }, choices, inputs), h("div", { class: "actions" }, save));
  }

  #showFolder() {
    this.#folderForm.hidden = this.#controls.get("release").value !== "folder";
  }

  #changed(key, select) {
    this.#timers.get(key)?.(true);
    if (key === "release") {
      this.#unstored = false;
      this.#showFolder();
      if (select.value === "folder") return this.#wantFolder();
    }
    const timer = setTimeout(() => this.#timers.get(key)?.(), SETTLE_MS);
    this.#timers.set(key, (cancelled) => {
      clearTimeout(timer);
      this.#timers.delete(key);
      if (!cancelled) this.#save({ [key]: select.value });
    });
  }

  #wantFolder() {
    const set = valueOf(this.#peer, "release");
    this.#unstored = set !== "folder";
    if (this.#unstored) this.#tell("muted", `Not stored yet: release is ${set} until a folder is set.`);
    this.#folder.focus();
  }

  /**
   * When the focus has gone elsewhere on the page what is set is shown again: a moment later, for what stands
   * below moves, and is being clicked perhaps. A window that loses the focus changes nothing.
   */
  #leave() {
    setTimeout(() => {
      const select = this.#controls.get("release");
      const active = document.activeElement;
      if (active === select || this.#folderForm.contains(active) || !this.element.isConnected) return;
      if (this.#unstored) this.#fallBack(select);
      this.#updateFolder(this.#peer);
    }, SETTLE_MS);
  }

  #fallBack(select) {
    this.#unstored = false;
    select.value = valueOf(this.#peer, "release");
    showError(this.#alert, null);
    this.#tell("muted", `Not stored, for no folder was set: release is ${select.value}.`);
  }

  /** Say what has become of a setting. */
  #tell(kind = "done", ...children) {
    setAttribute(this.#said, "class", kind);
    setChildren(this.#said, ...children);
  }

  #setFolder(event) {
    event.preventDefault();
    const folder = this.#folder.value.trim();
    if (!folder.startsWith("/")) return showError(this.#alert, { text: "the folder needs an absolute path", hint: "such as /srv/incoming" });
    this.#unstored = false;
    this.#save({ release: FOLDER + folder });
  }

  #saveTyped(event) {
    event.preventDefault();
    const typed = Object.keys(TYPED).map((key) => [key, this.#controls.get(key)]);
    const changes = typed.filter(([key, input]) => input.value.trim() !== valueOf(this.#peer, key)).map(([key, input]) => [key, input.value.trim()]);
    if (changes.length) this.#save(Object.fromEntries(changes));
    else this.#tell("done", "nothing to save");
  }

  async #save(settings) {
    showError(this.#alert, null);
    const text = Object.entries(settings).map(([key, value]) => `${key}=${escapeText(value)}`).join(", ");
    try {
      const peer = await api.patch(url`/v1/peers/${this.#name}`, { settings });
      for (const key of Object.keys(settings)) delete this.#controls.get(key).dataset.touched;
      this.#tell("done", "saved: ", told(text));
      this.#store.apply({ event: "peer", peer });
    } catch (error) {
      this.#tell();
      showError(this.#alert, error);
      for (const key of Object.keys(settings)) if (key in CHOICES) delete this.#controls.get(key).dataset.shown;
      this.update(this.#peer);
    }
  }
}
