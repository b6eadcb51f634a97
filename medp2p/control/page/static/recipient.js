/** The recipient of a send, as it is shown beside whose images go there. */

import { h, time, told } from "./dom.js";
import { comparedLongAgo, peerTitle } from "./peer.js";

const DAY_MS = 86_400_000;

/** Whether the key words are worth a look: new, or not compared for long. */
function wordsWanted(peer) {
  return !peer.verified || comparedLongAgo(peer) || Date.now() - Date.parse(peer.created) < DAY_MS;
}

/**
 * Everything that tells whether this is the right recipient.
 * @param {object} peer
 * @returns {Element}
 */
export function recipientView(peer) {
  const by = peer.verified_by ? [" by ", told(peer.verified_by)] : [];
  const verified = peer.verified ? [time(peer.verified), ...by] : "never: compare the key words, then verify the peer";
  const row = (word, ...value) => [h("dt", null, word), h("dd", null, value)];
  return h(
    "dl",
    { class: "details recipient-view" },
    row("to", h("strong", null, peerTitle([peer], peer.name))),
    peer.settings?.domain === "external" ? row("", h("strong", { class: "warning" }, "outside this organisation")) : null,
    peer.settings?.phone ? row("phone", told(peer.settings.phone)) : null,
    row("verified", ...[verified].flat()),
    wordsWanted(peer) ? row("key words", told(peer.key_words)) : null,
    peer.online ? null : row("now", peer.last_seen ? ["not there; seen ", time(peer.last_seen), "; it goes out by itself once it is back"] : "not seen yet; it goes out by itself once it is there"),
  );
}
