/**
 * Notices of the browser, without patient data: "1 STAT from ct-2", in the words of the daemon's own
 * notices on the desktop. Only after somebody has clicked
 * "Notify me here" and the browser allows it; several tabs show one notice.
 */

import { alarmText } from "./alarms.js";
import { escapeText } from "./format.js";
import { setAttribute } from "./dom.js";

const WANTED = "medp2p-notify";
/** Offers that come together are told together. */
const GATHER_MS = 1500;
/** Lines of one notice. */
const LINES = 4;

/**
 * Return the text for offers, a line for each peer and priority: "1 STAT from ct-2", "2 from ct-2".
 * @param {{peer: string, priority: string}[]} offers
 * @returns {string}
 */
export function noticeText(offers) {
  const counts = new Map();
  const urgentFirst = offers.toSorted((one, other) => (other.priority === "stat") - (one.priority === "stat"));
  for (const { peer, priority } of urgentFirst) {
    const line = `${priority === "stat" ? "STAT " : ""}from ${escapeText(peer)}`;
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  const lines = [...counts].map(([line, count]) => `${count} ${line}`);
  const more = lines.length - LINES;
  return [...lines.slice(0, LINES), ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}

/** What has come since the last notice. */
class Notices {
  #offers = new Map();
  #known = null;
  #timer = null;

  hear(event) {
    if (event.event === "alarm" && !event.alarm.acknowledged) this.#tell("medp2p: alarm", escapeText(alarmText(event.alarm)), `alarm-${event.alarm.id}-${event.alarm.count}`);
  }

  /** Look at what waits, however the page has heard of it: an event may come after the snapshot that has it. */
  look(rows) {
    const offers = rows.filter((row) => row.why === "decide");
    const fresh = this.#known ? offers.filter((row) => !this.#known.has(row.id)) : [];
    this.#known = new Set([...(this.#known ?? []), ...offers.map((row) => row.id)]);
    for (const row of fresh) this.#offers.set(row.id, row);
    if (fresh.length) this.#timer ??= setTimeout(() => this.#tellOffers(), GATHER_MS);
  }

  #tellOffers() {
    const offers = [...this.#offers.values()];
    this.#offers.clear();
    this.#timer = null;
    this.#tell("medp2p: waits for a decision", noticeText(offers), `offers-${offers[0].id}`);
  }

  /** The tag is the same in all tabs, and a notice replaces one with its tag. */
  #tell(title, text, tag) {
    if (!isOn() || document.hasFocus()) return;
    const notice = new Notification(title, { body: text, tag: `medp2p-${tag}` });
    notice.addEventListener("click", () => {
      window.focus();
      notice.close();
    });
  }
}

function isOn() {
  return "Notification" in window && Notification.permission === "granted" && localStorage.getItem(WANTED) === "yes";
}

/**
 * Show the button, and listen.
 * @param {HTMLElement} section Where the button stands.
 * @param {Store} store
 */
export function mount(section, store) {
  const button = section.querySelector("#notify");
  const show = () => {
    button.hidden = !("Notification" in window);
    const denied = !button.hidden && Notification.permission === "denied";
    button.disabled = denied;
    setAttribute(button, "title", denied ? "this browser forbids notices for this address" : "notices of the browser, without patient data");
    setAttribute(button, "aria-pressed", String(isOn()));
  };
  button.addEventListener("click", async () => {
    if (isOn()) localStorage.removeItem(WANTED);
    else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(WANTED, "yes");
    show();
  });
  const notices = new Notices();
  store.onEvent((event) => notices.hear(event));
  store.subscribe("waiting", (rows) => notices.look(rows));
  show();
}
