/**
 * Text for people: told text made harmless, sizes, rates, times, words for states.
 *
 * The rules are those of medp2p/text.py, so that page and command line say the same.
 */

/** Control, format (bidirectional marks), surrogate, line and paragraph separator. */
const HARMFUL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** What an escape looks like: `\x0a`, `\u202e`, `\U000e0001`. */
function escaped(char) {
  const code = char.codePointAt(0);
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}

/**
 * Return text that can neither move, hide nor reorder other text, and stays on one line.
 * @param {unknown} text Anything; null and undefined give "".
 * @returns {string}
 */
export function escapeText(text) {
  return text == null ? "" : String(text).replace(HARMFUL, escaped);
}

/** One decimal, ties to even as Python rounds. */
function oneDecimal(value) {
  return (value * 4) % 4 === 1 ? (Math.floor(value * 10) / 10).toFixed(1) : value.toFixed(1);
}

/**
 * Return a size in SI units: "999 B", "12.3 MB".
 * @param {number} count Bytes.
 */
export function formatBytes(count) {
  let value = Number(count) || 0;
  for (const unit of UNITS.slice(0, -1)) {
    if (Math.abs(value) < (unit === "B" ? 999.5 : 999.95)) {
      return unit === "B" ? `${Math.round(value)} B` : `${oneDecimal(value)} ${unit}`;
    }
    value /= 1000;
  }
  return `${oneDecimal(value)} ${UNITS.at(-1)}`;
}

/**
 * Return a rate: "12.3 MB/s".
 * @param {number} bytesPerSecond
 */
export function formatRate(bytesPerSecond) {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/**
 * Return a duration in its two largest units: "45 s", "3 min 20 s", "2 h 05 min", "3 d 4 h".
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(whole / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const two = (number) => String(number).padStart(2, "0");
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${two(minutes % 60)} min`;
  if (minutes) return `${minutes} min ${two(whole % 60)} s`;
  return `${whole} s`;
}

/**
 * Return a time as people read it, here, with the offset: "2026-11-25 14:00:00 +01:00".
 * @param {string} iso RFC 3339.
 */
export function formatTime(iso) {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return escapeText(iso);
  const two = (number) => String(number).padStart(2, "0");
  const offset = -time.getTimezoneOffset();
  const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())} ${zone}`;
}

/**
 * Whether a value is a time as the daemon writes it, RFC 3339 in UTC.
 * @param {unknown} value
 */
export function isMoment(value) {
  return typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/.test(value);
}

/**
 * Return "1 file", "2 files", "1,200 files".
 * @param {number} number
 * @param {string} one Singular.
 * @param {string} [many] Plural; default: singular with s.
 */
export function formatCount(number, one, many = `${one}s`) {
  return `${Number(number).toLocaleString("en")} ${Number(number) === 1 ? one : many}`;
}

/** What each state of a transfer means, in a short sentence; the word itself is shown as it is. */
export const STATES = Object.freeze({
  preparing: "being read on this workstation",
  ready: "read; not confirmed yet",
  queued: "stored here; goes out by itself",
  waiting: "waits for the other workstation",
  offered: "waits for a decision of the receiver",
  accepted: "accepted; the files follow",
  sending: "on its way",
  receiving: "arriving",
  paused: "interrupted; goes on by itself",
  sealed: "arrived whole and encrypted in the vault",
  releasing: "being unpacked",
  released: "unpacked into a folder",
  declined: "refused by the receiver",
  recalling: "being taken back; the receiver has not answered",
  recalled: "taken back",
  cancelled: "given up before it arrived",
  expiring: "not decided in time; will be erased",
  expired: "not decided in time; erased",
  discarded: "erased by the receiver",
  failed: "ended by an error",
});

/** The same at the receiver, where they say something about this workstation. */
const STATES_HERE = Object.freeze({
  offered: "waits for a decision here",
  accepted: "accepted here; the files follow",
  declined: "refused here",
  recalling: "being taken back by its sender",
  recalled: "taken back by its sender",
  discarded: "erased here",
});

/**
 * Return what the state of a transfer means to whoever reads this page; "" for one that is not known.
 * @param {{direction: string, state: string}} row
 */
export function stateText(row) {
  return (row.direction === "in" && STATES_HERE[row.state]) || STATES[row.state] || "";
}
