/** The line on top: whose page this is, whether it is in step, how much waits. */

import { setAttribute, setText } from "./dom.js";
import { escapeText, formatCount } from "./format.js";

const CONNECTION = {
  connecting: ["connecting …", null],
  open: ["online", "good"],
  lost: ["connection lost; trying again. If the daemon was restarted, run medp2p web", "bad"],
};

/** Title of the tab: how much waits, without data of patients. */
function showTitle(store) {
  const waiting = store.get("waiting")?.length ?? 0;
  const name = escapeText(store.get("status")?.name ?? "");
  document.title = `${waiting ? `(${waiting}) ` : ""}${name ? `${name} · ` : ""}medp2p`;
}

/** Words for the state, and how good it is. */
function online(store) {
  const connection = store.get("connection")?.state ?? "connecting";
  const status = store.get("status");
  if (connection === "open" && status && !status.accepting) return ["takes no connections", "bad"];
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
    const waiting = store.get("waiting");
    const open = (store.get("alarms") ?? []).filter((alarm) => !alarm.acknowledged).length;
    setText(name, escapeText(store.get("status")?.name ?? ""));
    setText(state, words);
    setAttribute(state, "data-mood", mood);
    setText(waits, waiting.length ? `${waiting.length} ${waiting.length === 1 ? "waits" : "wait"} for you` : "nothing waits for you");
    setAttribute(waits, "data-some", waiting.length ? "yes" : null);
    waits.hidden = !store.get("status");
    setText(alarms, formatCount(open, "alarm"));
    alarms.hidden = open === 0;
    showTitle(store);
  };
  for (const kind of ["connection", "status", "waiting", "alarms"]) store.subscribe(kind, show);
}
