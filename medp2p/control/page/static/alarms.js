/** Alarms that nobody has acknowledged: on top, the newest first; on a low window one line for all. */

import { api, url } from "./api.js";
import { coded, errorPlace, h, moving, patchList, setAttribute, setChildren, setText, showError, time } from "./dom.js";
import { escapeText, formatCount } from "./format.js";
import { inPageWords } from "./hints.js";
import { say } from "./say.js";

/** So many are shown at once; the others open by a click, so that what waits stays in sight. */
const SHOWN = 2;
const SHOWN_NARROW = 1;
const NARROW = "(width < 600px)";
/** As in parts.css. */
const LOW = "(height < 700px)";
const ANOTHER_KEY = ["another key", "Do not send to it. Call the other side by a number that you know, and compare the key words."];
const KINDS = {
  "key-alarm": ANOTHER_KEY,
  "key-change": ANOTHER_KEY,
  "cloned-identity": ["cloned identity", "Two daemons run with one identity. Stop one of them, then acknowledge."],
  "pairing-guesses": ["wrong pairing codes", "Somebody may have guessed. Pair again, and tell the code by voice."],
  "clock-behind": ["clock", "Set the clock of this workstation right, then acknowledge."],
  "set-back": ["set back", "The other side has lost what it had told before: a restored backup, or a copy."],
  "too-many-facts": ["too many statements", "The other side says more about one transfer than can be true. Call there: its program may be broken, or somebody else's."],
  "refused-handshake": ["refused handshake", "Nothing was let in. If somebody was to be paired, pair; if nobody was, tell those who run the network."],
};

let count = 0;
const parts = new WeakMap();

/**
 * Return what an alarm says, with whom it is about, in words of the page.
 * @param {{text: string, peer: string|null}} alarm
 * @returns {string} Not escaped.
 */
export function alarmText(alarm) {
  const text = inPageWords(alarm.text);
  return !alarm.peer || text.includes(alarm.peer) ? text : `${alarm.peer}: ${text}`;
}

/** What kind of alarm it is, in words of the page, and what to do about it. */
function kindOf(alarm) {
  return KINDS[alarm.kind] ?? [alarm.kind.replaceAll("-", " "), null];
}

function make(alarm) {
  const name = `alarm-${(count += 1)}`;
  const its = { alarm, when: h("span", { class: "muted" }), alert: errorPlace() };
  const [word, advice] = kindOf(alarm);
  const button = h("button", { type: "button", "aria-describedby": name, on: { click: () => acknowledge(its, button) } }, "Acknowledge");
  const item = h(
    "li",
    { class: "alarm", data: { alarm: alarm.id, kind: alarm.kind } },
    h("div", { class: "alarm-text", id: name }, h("p", null, h("strong", { class: "alarm-kind" }, escapeText(word)), " ", h("bdi", { dir: "auto" }, coded(alarmText(alarm))), " ", its.when), advice ? h("p", { class: "hint" }, advice) : null, its.alert),
    button,
  );
  parts.set(item, its);
  return item;
}

function update(item, alarm) {
  const its = parts.get(item);
  its.alarm = alarm;
  setChildren(its.when, time(alarm.time), alarm.count > 1 ? `, ${alarm.count} times` : "");
}

async function acknowledge(its, button) {
  if (button.getAttribute("aria-disabled")) return;
  setAttribute(button, "aria-disabled", "true");
  showError(its.alert, null);
  try {
    await api.post(url`/v1/alarms/${its.alarm.id}/acknowledge`);
    its.taken();
  } catch (error) {
    showError(its.alert, error);
  } finally {
    setAttribute(button, "aria-disabled", null);
  }
}

/** Say what is new, once; the first look at the page says how many there are. */
function announce(open, known) {
  const fresh = open.filter((alarm) => !known.has(alarm.id));
  if (fresh.length) say.now(`Alarm: ${alarmText(fresh[0])}${fresh.length > 1 ? `, and ${fresh.length - 1} more` : ""}`);
}

/** What stands for the alarms that are folded: of all of them also the newest, in words. */
function foldedText(folded, all) {
  if (!all || !folded.length) return `${folded.length} more`;
  const count = formatCount(folded.length, "alarm");
  return `${count}${folded.length > 1 ? ", the newest" : ""}: ${escapeText(kindOf(folded[0])[0])}: ${escapeText(alarmText(folded[0]))}`;
}

/**
 * Fill the region.
 * @param {HTMLElement} section
 * @param {Store} store
 */
export function mount(section, store) {
  const first = h("ul", { class: "list alarm-list" });
  const rest = h("ul", { class: "list alarm-list" });
  const line = h("span", { class: "alarms-line" });
  const summary = h("summary", null, line);
  const more = h("details", { class: "more" }, summary, rest);
  section.append(first, more);
  const known = new Set();
  const makeTaken = (alarm) => {
    const item = make(alarm);
    parts.get(item).taken = () => store.apply({ event: "alarm", alarm: { ...parts.get(item).alarm, acknowledged: true } });
    return item;
  };
  const narrow = matchMedia(NARROW);
  const low = matchMedia(LOW);
  const show = () => {
    const alarms = store.get("alarms") ?? [];
    const shown = low.matches ? 0 : narrow.matches ? SHOWN_NARROW : SHOWN;
    const open = alarms.filter((alarm) => !alarm.acknowledged).sort((one, other) => other.id - one.id);
    const focused = section.contains(document.activeElement);
    announce(open, known);
    for (const alarm of open) known.add(alarm.id);
    moving(() => {
      section.hidden = open.length === 0;
      more.hidden = open.length <= shown;
      setText(line, foldedText(open.slice(shown), low.matches));
      patchList(first, open.slice(0, shown), (alarm) => alarm.id, makeTaken, update);
      patchList(rest, open.slice(shown), (alarm) => alarm.id, makeTaken, update);
    });
    if (focused && !section.contains(document.activeElement)) {
      (section.hidden ? document.getElementById("waiting-title") : section.querySelector("h2")).focus();
    }
  };
  store.subscribe("alarms", show);
  for (const size of [narrow, low]) size.addEventListener("change", show, { signal: store.signal });
}
