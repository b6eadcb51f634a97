/** The line on top: whose page this is, whether it is in step, how much waits. */

import { setAttribute, setText } from "./dom.js";
import { escapeText, formatCount } from "./format.js";

const CONNECTION = {
  connecting: ["connecting …", null],
  open: ["online", "good"],
};

/** How much waits, also what is not listed. */
function waitingCount(store) {
  return store.get("waiting").length + (store.get("unlisted") ?? 0);
}

/** Title of the tab: how much waits, without data of patients. */
function showTitle(store) {
  const waiting = waitingCount(store);
  const name = escapeText(store.get("status")?.name ?? "");
  document.title = `${waiting ? `(${waiting}) ` : ""}${name ? `${name} · ` : ""}medp2p`;
}

/** Since when nothing is heard, as a time of the day. */
function clock(store) {
  const since = store.get("connection").since ?? new Date();
  return since.toTimeString().slice(0, 8);
}

/** Words for the state, and how good it is. */
function online(store) {
  const connection = store.get("connection")?.state ?? "connecting";
  const status = store.get("status");
  if (connection === "open" && status && !status.accepting) return ["takes no connections", "bad"];
  if (connection === "lost") return [`connection lost; trying again. Shown is what was known at ${clock(store)}. If the daemon was restarted, run medp2p web`, "bad"];
  return CONNECTION[connection];
}

/**
 * Fill the banner.
 * @param {HTMLElement} section
 * @param {Store} store
 */
export function mount(section, store) {
  const name = section.querySelector("#banner-name");
  const state = section.querySelector("#banner-state");
  const waits = section.querySelector("#banner-waiting");
  const alarms = section.querySelector("#banner-alarms");
  const show = () => {
    const [words, mood] = online(store);
    const open = (store.get("alarms") ?? []).filter((alarm) => !alarm.acknowledged).length;
    setText(name, escapeText(store.get("status")?.name ?? ""));
    setText(state, words);
    setAttribute(state, "data-mood", mood);
    setAttribute(document.getElementById("page"), "data-connection", store.get("connection")?.state);
    const count = waitingCount(store);
    setText(waits, count ? `${count.toLocaleString("en")} ${count === 1 ? "waits" : "wait"} for you` : "nothing waits for you");
    setAttribute(waits, "data-some", count ? "yes" : null);
    waits.hidden = !store.get("status");
    setText(alarms, formatCount(open, "alarm"));
    alarms.hidden = open === 0;
    showTitle(store);
  };
  for (const kind of ["connection", "status", "waiting", "alarms"]) store.subscribe(kind, show);
}
