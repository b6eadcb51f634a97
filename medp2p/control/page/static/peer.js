/** A peer in words: as people name it, what it tells of itself, whether its key words want a look. */

import { told } from "./dom.js";

/** As limits.VERIFY_AGAIN_DAYS: after so long the key words are worth a look again. */
const AGAIN_MS = 90 * 86_400_000;

/**
 * Return what a peer tells of itself: name, department, place.
 * @param {object} peer
 * @returns {string[]} Not escaped.
 */
export function toldOf(peer) {
  return [peer.told_name, peer.told_department, peer.told_place].filter(Boolean);
}

function bracketed(texts) {
  return texts.length ? [" (", ...texts.flatMap((text, index) => [index ? ", " : "", told(text)]), ")"] : [];
}

/**
 * Return a peer as people name it: "b (Ward A, Radiology, Room 3)".
 * @param {object[]|undefined} peers All that are paired.
 * @param {string} name
 * @returns {(Node|string)[]}
 */
export function peerTitle(peers, name) {
  const peer = peers?.find((one) => one.name === name);
  return [told(name, { class: "peer-name" }), ...bracketed(peer ? toldOf(peer) : [])];
}

/**
 * Return what a peer tells of itself, beyond the name that it has here: " (CT 2, Radiology)".
 * @param {object} peer
 * @returns {(Node|string)[]}
 */
export function toldText(peer) {
  return bracketed(toldOf({ ...peer, told_name: peer.told_name === peer.name ? null : peer.told_name }));
}

/** Whether the key words of a peer were compared, but so long ago that they should be again. */
export function comparedLongAgo(peer) {
  return Date.now() - Date.parse(peer.verified) > AGAIN_MS;
}
