/** Saying things to screen readers: two live regions that hold one sentence each. */

import { escapeText } from "./format.js";

function put(id, text) {
  document.getElementById(id).textContent = escapeText(text);
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
