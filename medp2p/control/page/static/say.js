/** Saying things to screen readers: two live regions that hold one sentence each. */

import { escapeText } from "./format.js";

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
