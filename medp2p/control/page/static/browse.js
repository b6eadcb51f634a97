/** Choosing files and folders of the daemon's machine, by typing a path or by looking through folders. */

import { api, url } from "./api.js";
import { field } from "./decisions.js";
import { errorPlace, h, setText, showError, time, told } from "./dom.js";
import { escapeText, formatBytes } from "./format.js";

/** Return text as base64 of its UTF-8 bytes: how the API takes a path. */
export function toBase64(text) {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}

/** Return the text behind base64 if it can be typed as it is; null for bytes that no text shows. */
function typable(base64) {
  try {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return escapeText(text) === text ? text : null;
  } catch {
    return null;
  }
}

let home = null;

/** Return what was typed as the path that it means: "~" is the home folder of the daemon's account. */
async function expanded(text) {
  if (text !== "~" && !text.startsWith("~/")) return toBase64(text);
  home ??= await api.get(url`/v1/folders`);
  return btoa(atob(home.path_b64) + atob(toBase64(text.slice(1))));
}

/**
 * The list of a folder, to walk through and to choose from.
 * @param {object} options
 * @param {boolean} [options.foldersOnly]
 * @param {string} options.word On the button that chooses an entry.
 * @param {(entry: {path: string, path_b64: string, kind: string}) => void} options.onChoose
 * @returns {{element: Element, open: (path_b64?: string) => Promise<void>}}
 */
function folderList({ foldersOnly = false, word, onChoose }) {
  const title = h("p", { class: "path", tabindex: "-1" });
  const rows = h("ul", { class: "folder-rows" });
  const alert = errorPlace();
  const up = h("button", { type: "button" }, "Up");
  const here = h("button", { type: "button" }, `${word} this folder`);
  const tools = h("div", { class: "actions" }, up, here);
  const element = h("div", { class: "folders", role: "group", "aria-label": "Folders of this workstation" }, title, tools, alert, rows);
  let shown = null;
  let asked = 0;

  const rowOf = (entry, number) => {
    const name = h("span", { id: `${element.id}-entry-${number}`, class: "folder-name" }, told(entry.name), entry.kind === "folder" ? "/" : "");
    const about = { "aria-describedby": name.id };
    const choose = h("button", { type: "button", ...about, on: { click: () => onChoose(entry) } }, word);
    const open = entry.kind === "folder" ? h("button", { type: "button", ...about, on: { click: () => list.open(entry.path_b64) } }, "Open") : null;
    const size = entry.kind === "file" ? formatBytes(entry.bytes) : "";
    return h("li", { data: { kind: entry.kind } }, name, h("span", { class: "muted" }, size, " ", time(entry.mtime)), h("span", { class: "actions" }, open, entry.kind === "other" ? null : choose));
  };

  const show = (answer) => {
    shown = answer;
    title.replaceChildren(told(answer.path));
    up.disabled = answer.parent_b64 === null;
    const entries = answer.entries.filter((entry) => !foldersOnly || entry.kind === "folder");
    rows.replaceChildren(...entries.map(rowOf));
    if (!entries.length) rows.append(h("li", { class: "muted" }, foldersOnly ? "no folders in here" : "nothing in here"));
    if (answer.more) rows.append(h("li", { class: "muted" }, "There is more in this folder than is listed: type the path."));
    title.focus();
  };

  const list = {
    element,
    open: async (path_b64) => {
      const mine = (asked += 1);
      showError(alert, null);
      try {
        const answer = await api.get(url`/v1/folders${{ path_b64 }}`);
        if (mine === asked) show(answer);
      } catch (error) {
        if (mine === asked) showError(alert, error);
      }
    },
  };
  up.addEventListener("click", () => list.open(shown.parent_b64));
  here.addEventListener("click", () => shown && onChoose({ ...shown, kind: "folder" }));
  element.id = `folders-${Math.random().toString(36).slice(2)}`;
  return list;
}

/** A button that shows and hides the list of folders below it. */
function browser(options) {
  const list = folderList(options);
  list.element.hidden = true;
  const button = h("button", { type: "button", "aria-expanded": "false", "aria-controls": list.element.id }, "Browse");
  const toggle = (open) => {
    list.element.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  };
  button.addEventListener("click", () => {
    toggle(list.element.hidden);
    if (!list.element.hidden) list.open(options.start?.());
  });
  return { button, list, toggle };
}

/** A path that is typed, or put in by browsing. */
class PathInput {
  constructor() {
    this.control = h("input", { type: "text", class: "path", spellcheck: "false", autocapitalize: "off", autocomplete: "off", placeholder: "/folder/study" });
    this.chosen = null;
  }

  /** Put a chosen entry in. */
  put(entry) {
    this.chosen = { text: typable(entry.path_b64) ?? escapeText(entry.path), path_b64: entry.path_b64 };
    this.control.value = this.chosen.text;
  }

  clear() {
    this.chosen = null;
    this.control.value = "";
  }

  get empty() {
    return this.control.value.trim() === "";
  }

  /**
   * Return `{path, path_b64}` of what stands in it.
   * @throws {Error} It is no absolute path.
   */
  async take() {
    const text = this.control.value;
    if (text === this.chosen?.text) return { path: text, path_b64: this.chosen.path_b64 };
    const typed = text.trim();
    if (!/^(\/|~(\/|$))/.test(typed)) throw new Error("A path begins with / or with ~/.");
    return { path: typed, path_b64: await expanded(typed) };
  }
}

/**
 * A field for one folder: where a release goes.
 * @param {string} text Of its label.
 * @returns {{element: Element, control: Element, take: () => Promise<{path: string, path_b64: string}>}}
 */
export function folderField(text) {
  const input = new PathInput();
  const { button, list, toggle } = browser({
    foldersOnly: true,
    word: "Choose",
    onChoose: (entry) => {
      input.put(entry);
      toggle(false);
      input.control.focus();
    },
  });
  const element = h("div", { class: "paths" }, field(text, input.control, "On this workstation; made if missing. The files land in a new folder of their own in it."), h("div", { class: "actions" }, button), list.element);
  return { element, control: input.control, take: () => input.take() };
}

/**
 * A field for several files and folders: what is sent.
 * @returns {{element: Element, control: Element, take: () => Promise<{path: string, path_b64: string}[]>}}
 */
export function pathsField() {
  const input = new PathInput();
  const chosen = new Map();
  const rows = h("ul", { class: "chosen" });
  const alert = errorPlace();
  const count = h("p", { class: "sr-only", role: "status" });
  const draw = () => {
    rows.replaceChildren(...[...chosen.values()].map(rowOf));
    rows.hidden = chosen.size === 0;
    setText(count, chosen.size ? `${chosen.size} chosen` : "nothing chosen");
  };
  const rowOf = (entry, number) => {
    const name = h("span", { id: `${rows.id}-${number}`, class: "path" }, told(entry.path));
    const remove = h("button", { type: "button", "aria-describedby": name.id }, "Remove");
    remove.addEventListener("click", () => {
      chosen.delete(entry.path_b64);
      draw();
      input.control.focus();
    });
    return h("li", null, name, remove);
  };
  rows.id = `chosen-${Math.random().toString(36).slice(2)}`;
  const add = (entry) => {
    chosen.set(entry.path_b64, { path: entry.path, path_b64: entry.path_b64 });
    draw();
  };
  const { button, list } = browser({ word: "Add", onChoose: add });
  const addTyped = async () => {
    showError(alert, null);
    if (input.empty) return;
    add(await input.take());
    input.clear();
  };
  const plus = h("button", { type: "button" }, "Add path");
  const typed = () => addTyped().catch((error) => showError(alert, error));
  plus.addEventListener("click", typed);
  input.control.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || input.empty) return;
    event.preventDefault(); // the form would be sent
    typed();
  });
  draw();
  const element = h("div", { class: "paths" }, field("Files and folders of this workstation", input.control, "Type a path, or browse. Several can be added."), h("div", { class: "actions" }, plus, button), alert, rows, count, list.element);
  return {
    element,
    control: input.control,
    take: async () => {
      await addTyped();
      return [...chosen.values()];
    },
  };
}
