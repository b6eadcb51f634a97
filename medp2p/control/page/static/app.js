/** The page: opens a session, keeps the store in step with the daemon, mounts the regions. */

import { Session, takeToken } from "./session.js";
import { Store, alone } from "./store.js";
import { Stream } from "./stream.js";
import { ApiError, api } from "./api.js";
import { closeDialogs } from "./dialog.js";
import { say } from "./say.js";
import * as active from "./active.js";
import * as alarms from "./alarms.js";
import * as audit from "./audit.js";
import * as banner from "./banner.js";
import * as boxes from "./boxes.js";
import * as nearby from "./nearby.js";
import * as notify from "./notify.js";
import * as peers from "./peers.js";
import * as search from "./search.js";
import * as send from "./send.js";
import * as waiting from "./waiting.js";
import * as workstation from "./workstation.js";

/** What fills each region. */
const REGIONS = [
  ["banner", banner],
  ["search", search],
  ["alarms", alarms],
  ["waiting", waiting],
  ["waiting", notify],
  ["active", active],
  ["send", send],
  ["inbox", boxes],
  ["outbox", boxes],
  ["peers", peers],
  ["nearby", nearby],
  ["workstation", workstation],
  ["audit", audit],
];
const ENDED = {
  none: "This address shows nothing without a session.",
  refused: "That address was used already, or is too old.",
  idle: "The session ended because nobody used it. Nothing of it is left on this page.",
  ended: "The session is over. Nothing of it is left on this page.",
  left: "The session was ended. Nothing of it is left on this page.",
  stopped: "The daemon was stopped. Nothing of the session is left on this page.",
  displaced: "The session was ended because too many others were opened. Nothing of it is left on this page.",
  lost: "The daemon does not know this session any more: it ended, or the daemon was restarted.",
  away: "The daemon does not answer.",
};
const token = takeToken();
const pristine = document.getElementById("page").cloneNode(true);
const store = new Store();
let stream = null;

const session = new Session((why) => close(why), () => stream?.alive());

/** Take all elements out of each other: whoever still holds one of them holds nothing else. */
function takeApart(element) {
  const all = [...element.querySelectorAll("*")];
  element.replaceChildren();
  for (const one of all) one.replaceChildren();
}

/** Take everything of a session out of the page and out of memory, at once. */
function wipe(why) {
  stream?.stop(why);
  stream = null;
  store.clear();
  closeDialogs();
  say.clear();
  const page = document.getElementById("page");
  page.replaceWith(pristine.cloneNode(true));
  takeApart(page);
  /x/.test("x"); // engines keep the text that an expression has matched last
  document.title = "medp2p";
}

/** End: say what has happened, and how to go on. */
function close(why) {
  wipe(why);
  document.getElementById("opening").hidden = true;
  document.getElementById("closed-why").textContent = ENDED[why] ?? ENDED.ended;
  document.getElementById("closed").hidden = false;
  document.getElementById("closed-title").focus();
}

/** Begin to follow the daemon; the page is shown with the first snapshot, never half. */
function open() {
  wipe("again");
  document.getElementById("closed").hidden = true;
  document.getElementById("opening").hidden = false;
  stream = new Stream(session.name, {
    event: (event) => store.apply(event),
    overview: show,
    state: noteConnection,
    ended: (why) => session.end(why),
    alive: () => session.touch(),
  });
  store.set("connection", { state: "connecting" });
  store.onStale(() => stream?.refresh());
  stream.start();
}

/** Note whether the daemon is heard, and since when it is not; a stranger is asked nothing. */
function noteConnection(state, sure) {
  api.hold(state === "lost" && !sure);
  const before = store.get("connection");
  const since = state === "lost" ? (before?.since ?? new Date()) : undefined;
  store.set("connection", { state, since });
}

/** Take over a snapshot; with the first one the regions are filled. */
function show(overview) {
  store.load(overview);
  const page = document.getElementById("page");
  if (!page.hidden) return;
  document.getElementById("opening").hidden = true;
  page.hidden = false;
  for (const [region, module] of REGIONS) alone(() => module.mount(page.querySelector(`[data-region="${region}"]`), store));
  document.getElementById("end-session").addEventListener("click", () => session.end("ended"));
}

/** Begin with a token, or with what this tab has; a token that is refused ends nothing. */
async function begin(fresh) {
  try {
    if (await session.begin(fresh)) open();
    else close("none");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (stream === null) close(error.status === 0 ? "away" : "refused");
  }
}

/** A key that is held down decides once: its next events would meet what came in the meantime. */
addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Enter" && event.repeat && !(event.target instanceof HTMLTextAreaElement)) event.preventDefault();
  },
  { capture: true },
);

/** A page that the browser keeps for a way back shows nothing there: it begins again. */
addEventListener("pagehide", (event) => {
  if (event.persisted) wipe("again");
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

addEventListener("hashchange", () => {
  const fresh = takeToken();
  if (fresh) begin(fresh);
});
begin(token);
