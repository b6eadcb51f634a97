/**
 * Making and patching elements. All text goes in as text; no attribute that runs or loads
 * anything can be set from here.
 */

import { escapeText, formatTime } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/** Attributes that may be set; with aria-* and data-*. None of them runs or loads anything. */
const ATTRIBUTES = new Set([
  "id", "class", "role", "type", "name", "for", "value", "title", "placeholder", "tabindex", "dir", "lang",
  "rows", "cols", "min", "max", "step", "minlength", "maxlength", "pattern", "size", "autocomplete",
  "autocapitalize", "spellcheck", "inputmode", "enterkeyhint", "list", "datetime", "colspan", "rowspan", "scope",
  "alt", "width", "height", "viewBox", "d", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r",
  "preserveAspectRatio", "focusable",
]);
const FLAGS = new Set([
  "hidden", "disabled", "checked", "selected", "required", "readonly", "autofocus", "multiple", "open", "novalidate",
]);

function setProperty(element, name, value) {
  if (name === "on") {
    for (const [kind, listener] of Object.entries(value)) element.addEventListener(kind, listener);
  } else if (name === "data") {
    for (const [key, text] of Object.entries(value)) element.dataset[key] = text;
  } else {
    setAttribute(element, name, value);
  }
}

/**
 * Set or take away an attribute from the allowed ones, only if it differs.
 * @param {Element} element
 * @param {string} name
 * @param {string|number|boolean|null|undefined} value null, undefined and (for a flag) false take it away.
 */
export function setAttribute(element, name, value) {
  const flag = FLAGS.has(name);
  if (!flag && !ATTRIBUTES.has(name) && !/^(aria|data)-[a-z-]+$/.test(name)) {
    throw new TypeError(`attribute ${name} is not allowed`);
  }
  if (value == null || (flag && value === false)) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = flag ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProperty(element, name, value);
  for (const child of children.flat(Infinity)) {
    if (child != null && child !== false) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/**
 * Make an HTML element: `h("p", {class: "hint", on: {click: f}, data: {peer: "a"}}, "text", node, null)`.
 * @param {string} tag
 * @param {object} [props] Allowed attributes, `on` (listeners), `data` (dataset).
 * @param {...(Node|string|number|null|false|Array)} children Strings become text nodes.
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/**
 * Make an SVG element; as h.
 * @returns {SVGElement}
 */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/**
 * Make an element for text that a peer, a file or a person told: escaped, and isolated in its direction.
 * @param {unknown} text
 * @param {object} [props]
 */
export function told(text, props) {
  return h("bdi", { dir: "auto", ...props }, escapeText(text));
}

/**
 * Return a text of the daemon as nodes: what stands between backticks there is code here.
 * @param {unknown} text
 * @returns {(Node|string)[]}
 */
export function coded(text) {
  return escapeText(text).split(/`([^`]+)`/).map((part, number) => (number % 2 ? h("code", null, part) : part)).filter(Boolean);
}

/**
 * Make a `<time>` that shows a time here, with its offset.
 * @param {string|null|undefined} iso
 * @returns {HTMLTimeElement|null} null for no time.
 */
export function time(iso) {
  return iso ? h("time", { datetime: iso }, formatTime(iso)) : null;
}

/** Make a place for an error; it takes no room until there is one. */
export function errorPlace() {
  return h("div", { class: "error", role: "alert", hidden: true });
}

/**
 * Show an error, or none.
 * @param {Element} place
 * @param {{text?: string, message?: string, hint?: string}|null} error
 */
export function showError(place, error) {
  place.replaceChildren();
  place.hidden = !error;
  if (!error) return;
  place.append(h("p", null, coded(error.text ?? error.message)));
  if (error.hint) place.append(h("p", { class: "hint" }, coded(error.hint)));
}

/**
 * Put text into an element, only if it differs; what has focus or is selected stays so.
 * @param {Element} element
 * @param {string|number} text
 */
export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * Put children into an element, unless the same text and elements are there already.
 * For parts that hold no control.
 * @param {Element} element
 * @param {...(Node|string|null|false|Array)} children
 */
export function setChildren(element, ...children) {
  const fresh = [...build(document.createElement("div"), null, children).childNodes];
  const old = [...element.childNodes];
  const same = old.length === fresh.length && old.every((node, index) => node.isEqualNode(fresh[index]));
  if (!same) element.replaceChildren(...fresh);
}

/** For so long a decision cannot be clicked after it has moved: somebody may be aiming at another one. */
const MOVED_MS = 400;

const DECISIONS = "[data-decision], [data-transfer] .actions button";

/** Where each button of a decision stands now. */
function decisions() {
  const places = new Map();
  for (const button of document.querySelectorAll(DECISIONS)) {
    const { top, left } = button.getBoundingClientRect();
    places.set(button, `${Math.round(top)} ${Math.round(left)}`);
  }
  return places;
}

/**
 * Do something that may move things on the page; a button of a transfer, or one with
 * `data-decision`, that then stands elsewhere takes no click for a moment.
 * @param {() => void} change
 */
export function moving(change) {
  const before = decisions();
  change();
  for (const [button, place] of decisions()) {
    if (before.get(button) === place) continue;
    button.classList.add("moved");
    setTimeout(() => button.classList.remove("moved"), MOVED_MS);
  }
}

/**
 * Bring a container's children into line with a list, keyed. Elements that stay are neither
 * made anew nor taken out, and the one with focus is never moved: others move around it.
 * @template T
 * @param {Element} container Holds nothing but what this function puts there.
 * @param {T[]} items Keys are unique; of equal keys the first is shown.
 * @param {(item: T) => string} key
 * @param {(item: T) => Element} make
 * @param {(element: Element, item: T) => void} [update] Called for each element, new ones too.
 */
export function patchList(container, items, key, make, update = () => {}) {
  const wanted = new Map();
  for (const item of items) if (!wanted.has(String(key(item)))) wanted.set(String(key(item)), item);
  const names = [...container.children].map((child) => child.dataset.key);
  const change = () => arrange(container, wanted, make, update);
  const same = names.length === wanted.size && [...wanted.keys()].every((name, index) => name === names[index]);
  if (same) change();
  else moving(change);
}

function arrange(container, wanted, make, update) {
  const known = new Map([...container.children].map((child) => [child.dataset.key, child]));
  for (const [name, child] of known) if (!wanted.has(name)) child.remove();
  let place = container.firstElementChild;
  for (const [name, item] of wanted) {
    const child = known.get(name) ?? make(item);
    child.dataset.key = name;
    if (child !== place && child.contains(document.activeElement)) {
      while (place !== child) {
        const next = place.nextElementSibling;
        container.append(place);
        place = next;
      }
    }
    if (child === place) place = place.nextElementSibling;
    else container.insertBefore(child, place);
    update(child, item);
  }
}
