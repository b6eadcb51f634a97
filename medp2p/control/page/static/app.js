/** The page: opens a session, keeps the store in step with the daemon, mounts the regions. */

import { Session, takeToken } from "./session.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { closeDialogs } from "./dialog.js";
import { say } from "./say.js";

/** Module, and the regions that it fills. */
const REGIONS = [
  ["alarms", ["alarms"]],
  ["waiting", ["waiting"]],
  ["active", ["active"]],
  ["send", ["send"]],
  ["boxes", ["inbox", "outbox"]],
  ["peers", ["peers"]],
  ["nearby", ["nearby"]],
  ["workstation", ["workstation"]],
  ["audit", ["audit"]],
  ["search", ["search"]],
  ["banner", ["banner"]],
  ["notify", ["waiting"]],
];
const ENDED = {
  none: "This address shows nothing without a session.",
  refused: "That address was used already, or is too old.",
  idle: "The session ended because nobody used it. Nothing of it is left on this page.",
  ended: "The session is over. Nothing of it is left on this page.",
  lost: "The daemon does not know this session any more: it ended, or the daemon was restarted.",
  away: "The daemon does not answer.",
};
const token = takeToken();
const pristine = document.getElementById("page").cloneNode(true);
const store = new Store();
let stream = null;

const session = new Session((why) => close(why), () => stream?.alive());

/** Take everything away at once, and say how to go on. */
function close(why) {
  stream?.stop(why);
  stream = null;
  store.clear();
  closeDialogs();
  say.clear();
  document.getElementById("page").replaceWith(pristine.cloneNode(true));
  document.title = "medp2p";
  document.getElementById("closed-why").textContent = ENDED[why] ?? ENDED.ended;
  document.getElementById("closed").hidden = false;
  document.getElementById("closed-title").focus();
}

/** Show the page and begin to follow the daemon. */
async function open() {
  document.getElementById("closed").hidden = true;
  const page = document.getElementById("page");
  page.hidden = false;
  stream = new Stream({
    event: (event) => store.apply(event),
    overview: (overview) => store.load(overview),
    state: (state) => store.set("connection", { state }),
    ended: (why) => session.end(why),
    alive: () => session.touch(),
  });
  store.set("connection", { state: "connecting" });
  store.onStale(() => stream?.refresh());
  stream.start();
  document.getElementById("end-session").addEventListener("click", () => session.end("ended"));
  const modules = await Promise.allSettled(REGIONS.map(([name]) => import(`./${name}.js`)));
  for (const [index, module] of modules.entries()) mount(REGIONS[index][1], module, page);
}

function mount(regions, module, page) {
  if (module.status === "rejected") {
    console.error(String(module.reason));
    return;
  }
  for (const region of regions) module.value.mount(page.querySelector(`[data-region="${region}"]`), store);
}

/** Begin with a token, or with what this tab has. */
async function begin(fresh) {
  try {
    if (await session.begin(fresh)) await open();
    else close("none");
  } catch (error) {
    close(error.status === 0 ? "away" : "refused");
  }
}

addEventListener("hashchange", () => {
  const fresh = takeToken();
  if (!fresh) return;
  session.end("lost");
  begin(fresh);
});
begin(token);
