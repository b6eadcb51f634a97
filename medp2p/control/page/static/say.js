/** Saying things to screen readers: two live regions that hold one sentence each. */

import { escapeText } from "./format.js";

/** A new element each time: the same sentence twice is heard twice. */
function put(id, text) {
  const said = document.createElement("p");
  said.textContent = escapeText(text);
  document.getElementById(id).replaceChildren(said);
}

/** Sentences for people who hear the page. */
export const say = {
  /** Say it when there is a pause. @param {string} text */
  politely: (text) => put("live-polite", text),
  /** Say it now. @param {string} text */
  now: (text) => put("live-assertive", text),
  /** Say nothing more, and keep nothing. */
  clear: () => {
    put("live-polite", "");
    put("live-assertive", "");
  },
};
