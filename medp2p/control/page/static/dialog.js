/** Dialogs: one `<dialog>` each, made when asked for and taken out of the page when closed. */

import { errorPlace, h, setAttribute, setText, showError } from "./dom.js";

/** For so long after it has come a dialog takes no click: it is the second one of a double click. */
const FRESH_MS = 400;

let count = 0;

/** What the inside of a dialog may do with it. */
class Dialog {
  constructor(element, confirm, alert, shut) {
    this.element = element;
    this.confirm = confirm;
    this.alert = alert;
    this.shut = shut;
    this.ready = true;
  }

  /** Allow or forbid confirming. */
  setReady(ready) {
    this.ready = ready;
    const busy = this.element.getAttribute("aria-busy") === "true";
    if (this.confirm) setAttribute(this.confirm, "disabled", busy || !ready);
  }

  /** Put another word on the confirming button, and say whether it is a dangerous one. */
  setVerb(verb, danger = false) {
    setText(this.confirm, verb);
    setAttribute(this.confirm, "class", danger ? "danger" : "primary");
  }

  /** Show an error inside; null takes it away. */
  setError(error) {
    showError(this.alert, error);
  }

  /** Close it; what openDialog promised is this value. */
  close(value = null) {
    this.shut(value);
  }
}

/**
 * Open a modal dialog.
 * @param {object} options
 * @param {string|Node} options.title Of the heading; a name that was told goes in as an element (dom.told).
 * @param {Node|Node[]|((dialog: Dialog) => Node|Node[])} [options.body] An element with `autofocus` gets the focus;
 *   else the confirming button does, or "Back" when it is dangerous.
 * @param {string|null} [options.verb] Word on the confirming button; null: there is only "Back".
 * @param {boolean} [options.danger] Confirming cannot be undone.
 * @param {(dialog: Dialog) => Promise<any>} [options.onConfirm] Its error is shown inside and the dialog stays open;
 *   return false (exactly) to stay open without one.
 * @param {boolean} [options.wide] For long contents.
 * @returns {Promise<any>} What onConfirm gave (true for undefined), or null when it was closed without.
 */
export function openDialog({ title, body, verb = null, danger = false, onConfirm, wide = false }) {
  if (document.getElementById("page").hidden) return Promise.resolve(null); // the session ended meanwhile
  const opener = document.activeElement;
  const region = opener?.closest("[data-region]");
  const name = `dialog-${(count += 1)}`;
  const alert = errorPlace();
  const back = h("button", { type: "button" }, "Back");
  const confirm = verb === null ? null : h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const content = h("div", { class: "dialog-body", id: `${name}-body` });
  const form = h(
    "form",
    { novalidate: true, autocomplete: "off" },
    h("h2", { id: `${name}-title` }, title),
    content,
    alert,
    h("div", { class: "actions" }, back, confirm),
  );
  const element = h("dialog", { "aria-labelledby": `${name}-title`, class: wide ? "wide" : null }, form);
  return new Promise((resolve) => {
    let result = null;
    const dialog = new Dialog(element, confirm, alert, (value) => {
      result = value;
      element.close();
    });
    element.addEventListener("close", () => {
      element.remove();
      if (opener && opener !== document.body) comeBack(region);
      resolve(result);
    });
    element.addEventListener("cancel", (event) => {
      if (element.getAttribute("aria-busy") === "true") event.preventDefault();
    });
    back.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (confirm && !confirm.disabled) run(dialog, onConfirm);
    });
    content.append(...[typeof body === "function" ? body(dialog) : (body ?? [])].flat());
    element.classList.add("fresh");
    setTimeout(() => element.classList.remove("fresh"), FRESH_MS);
    document.body.append(element);
    element.showModal();
    (content.querySelector("[autofocus]") ?? (danger || !confirm || confirm.disabled ? back : confirm)).focus();
  });
}

/** Do what a dialog is for, once. */
async function run(dialog, onConfirm) {
  const { element, confirm } = dialog;
  dialog.setError(null);
  setAttribute(element, "aria-busy", "true");
  setAttribute(confirm, "disabled", true);
  try {
    const value = await (onConfirm?.(dialog) ?? true);
    if (value !== false) dialog.close(value ?? true);
  } catch (error) {
    dialog.setError(error);
  } finally {
    setAttribute(element, "aria-busy", null);
    setAttribute(confirm, "disabled", !dialog.ready);
    if (element.open && (!element.contains(document.activeElement) || document.activeElement === element)) confirm.focus();
  }
}

/**
 * Let the focus be in the region where the opener was. The browser has given it back to the opener already, a moment
 * before this is called (HTML, "close the dialog"); it is nowhere if that is gone or takes none.
 */
function comeBack(region) {
  if (document.activeElement !== document.body) return; // who has moved on since stays there
  (region?.querySelector("h2") ?? document.getElementById("waiting-title")).focus();
}

/** Close all dialogs at once and forget what is in them: nothing of a patient may stay. */
export function closeDialogs() {
  for (const element of document.querySelectorAll("dialog")) {
    element.close();
    element.replaceChildren();
    element.remove();
  }
}
