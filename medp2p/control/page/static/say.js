/**
 * Saying things: to screen readers in two live regions that hold one sentence each, and to everybody in
 * sentences that stay.
 */

import { h } from "./dom.js";
import { escapeText } from "./format.js";

/**
 * A sentence about what was done, which stays until somebody dismisses it, or until its place is filled anew.
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function lasting(...children) {
  const dismiss = h("button", { type: "button", class: "quiet" }, "Dismiss");
  const element = h("div", { class: "lasting" }, h("p", { class: "done" }, children), dismiss);
  dismiss.addEventListener("click", () => {
    const heading = element.closest("section")?.querySelector("h2");
    element.dispatchEvent(new CustomEvent("dismissed", { bubbles: true }));
    element.remove();
    if (document.activeElement === document.body) heading?.focus({ preventScroll: true });
  });
  return element;
}

/** A new element each time: the same sentence twice is heard twice. */
function put(id, text) {
  const said = document.createElement("p");
  said.textContent = escapeText(text);
  document.getElementById(id).replaceChildren(said);
}

/** Sentences that come faster than they can be heard become one, milliseconds. */
const PAUSE_MS = 3000;
let waiting = [];
let pause = null;

function goOn() {
  pause = null;
  if (!waiting.length) return;
  const more = waiting.length - 1;
  put("live-polite", `${waiting.at(-1)}${more ? `, and ${more} more ${more === 1 ? "change" : "changes"}` : ""}`);
  waiting = [];
  pause = setTimeout(goOn, PAUSE_MS);
}

/** Sentences for people who hear the page. */
export const say = {
  /** Say it when there is a pause. @param {string} text */
  politely: (text) => {
    waiting.push(text);
    if (pause === null) goOn();
  },
  /** Say it now. @param {string} text */
  now: (text) => put("live-assertive", text),
  /** Say nothing more, and keep nothing. */
  clear: () => {
    clearTimeout(pause);
    pause = null;
    waiting = [];
    put("live-polite", "");
    put("live-assertive", "");
  },
};
