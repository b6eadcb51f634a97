/** Pairing: showing a code, entering one, and comparing key words. */

import { api, url } from "./api.js";
import { field } from "./decisions.js";
import { openDialog } from "./dialog.js";
import { h, setChildren, setText, time, told } from "./dom.js";
import { escapeText, formatCount, formatDuration } from "./format.js";
import { toldText } from "./peer.js";
import { choiceBox } from "./policy.js";

/** Finding the other side by mDNS and proving the code may take so long, milliseconds. */
const JOIN_MS = 150_000;

/**
 * Return the key words of both sides, to be compared.
 * @param {object} peer
 * @param {Store} store
 */
function wordsView(peer, store) {
  const own = store.get("identity");
  return h(
    "dl",
    { class: "facts words" },
    h("div", null, h("dt", null, "This workstation, ", told(own?.name)), h("dd", { class: "key-words" }, told(own?.key_words))),
    h("div", null, h("dt", null, told(peer.name)), h("dd", { class: "key-words" }, told(peer.key_words))),
  );
}

/** After pairing: who it is, and whether it belongs to this organisation. */
function pairedView(peer, store) {
  const domain = choiceBox("domain");
  domain.value = peer.settings.domain ?? "internal";
  const said = h("p", { class: "done", role: "status" });
  domain.addEventListener("change", async () => {
    try {
      const after = await api.patch(url`/v1/peers/${peer.name}`, { settings: { domain: domain.value } });
      store.apply({ event: "peer", peer: after });
      setText(said, `saved: domain=${domain.value}`);
    } catch (error) {
      setText(said, escapeText(error.text));
    }
  });
  return [
    h("p", { tabindex: "-1", autofocus: true }, "Paired with ", told(peer.name, { class: "strong" }), toldText(peer), ". Proved by the code."),
    wordsView(peer, store),
    field("It belongs to", domain, "To another organisation each send wants a purpose."),
    said,
  ];
}

/** What to do on the other workstation, with the code in large. */
class CodeView {
  #code = h("output", { class: "pair-code" });
  #command = h("code");
  #left = h("span", { role: "timer", "aria-live": "off" });
  #guesses = h("span");
  #said = h("p", { class: "notice warn", role: "status", hidden: true });
  #expires = 0;

  constructor() {
    this.element = h(
      "div",
      { class: "pairing" },
      h("p", null, "On the other workstation choose Join and enter this code, or run ", this.#command, ". Tell it by voice, not by mail."),
      h("p", { class: "pair-code-line" }, this.#code),
      h("p", { class: "muted" }, this.#left, ", ", this.#guesses),
      this.#said,
      h("p", { class: "hint" }, "“Back” takes the code back."),
    );
    const timer = setInterval(() => (this.element.isConnected ? this.#tick() : clearInterval(timer)), 1000);
  }

  show(state) {
    setText(this.#code, escapeText(state.code));
    setText(this.#command, `medp2p pair ${escapeText(state.code)}`);
    setText(this.#guesses, `${formatCount(state.guesses_left, "guess", "guesses")} left`);
    this.#expires = Date.parse(state.expires);
    this.#said.hidden = !state.text;
    setChildren(this.#said, state.text ? told(state.text) : null);
    this.#tick();
  }

  #tick() {
    setText(this.#left, `${formatDuration((this.#expires - Date.now()) / 1000)} left`);
  }
}

/**
 * Show a code and wait for the other side, in a dialog; closing it takes the code back.
 * @param {Store} store
 */
export async function openPairing(store) {
  const view = h("div", null, h("p", { tabindex: "-1", autofocus: true, role: "status" }, "asking for a code …"));
  const code = new CodeView();
  const over = store.signal;
  let end = () => {};
  let asked = null;
  let shown = null;
  const show = async (state) => {
    if (state.state === shown && shown !== "open") return;
    shown = state.state;
    if (state.state === "open") {
      if (!code.element.isConnected) view.replaceChildren(code.element);
      code.show(state);
    } else if (state.state === "paired") {
      const peer = await api.get(url`/v1/peers/${state.peer}`);
      view.replaceChildren(...pairedView(peer, store));
      view.firstElementChild.focus();
      store.wish();
    } else {
      view.replaceChildren(h("p", { role: "alert" }, "Pairing is closed: ", told(state.text || "nobody entered the code"), ". Choose Pair for another code."));
    }
  };
  await openDialog({
    title: "Pair with another workstation",
    body: (dialog) => {
      asked = api.post("/v1/pairing").then(
        (state) => {
          if (over.aborted) return;
          store.set("pairing", state);
          end = store.subscribe("pairing", (now) => show(now).catch((error) => dialog.setError(error)));
        },
        (error) => dialog.setError(error),
      );
      return view;
    },
  });
  await asked; // a code that comes later would be one that nobody sees
  end();
  if (shown === "open" && !over.aborted) await closePairing(store);
}

/** Take the code back; say so if that fails, and offer to try again. */
export async function closePairing(store) {
  const over = store.signal;
  const take = async () => store.set("pairing", await api.delete("/v1/pairing"));
  try {
    await take();
  } catch (error) {
    if (!over.aborted) await tellValid(error, store, take);
  }
}

function tellValid(error, store, take) {
  const { expires } = store.get("pairing") ?? {};
  const until = expires ? ["until ", time(expires)] : "until its time is over";
  return openDialog({
    title: "The code is still valid",
    body: [
      h("p", null, "It could not be taken back: ", told(error.text ?? error.message), "."),
      h("p", null, "Whoever knows it can pair with this workstation ", until, "."),
    ],
    verb: "Take it back",
    onConfirm: take,
  });
}

/**
 * Enter the code that another workstation shows.
 * @param {Store} store
 * @param {string} [number] Public number of the code, if mDNS tells it.
 */
export async function openJoin(store, number = "") {
  const code = h("input", { type: "text", required: true, autofocus: true, autocomplete: "off", autocapitalize: "off", spellcheck: "false", maxlength: 100, value: number ? `${number}-` : "", class: "code-input" });
  const at = h("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 300 });
  const peer = await openDialog({
    title: "Join a workstation that shows a code",
    body: [
      field("Code", code, "such as 42-amber-cabin; one guess for each code"),
      field("Address, if it is not nearby", at, "ADDR:PORT; empty: looked for in this network"),
    ],
    verb: "Join",
    onConfirm: () => api.post("/v1/pairing/join", { code: code.value, at: at.value.trim() || null }, { patience: JOIN_MS }),
  });
  if (!peer) return;
  store.wish();
  await openDialog({ title: "Paired", body: pairedView(peer, store) });
}

/**
 * Compare key words and record that they are the same.
 * @param {object} peer
 * @param {Store} store
 */
export function openVerify(peer, store) {
  const phone = peer.settings.phone;
  return openDialog({
    title: h("span", null, "Verify ", told(peer.name)),
    body: [
      h("p", { tabindex: "-1", autofocus: true }, "Call the other side", phone ? [" (", told(phone), ")"] : " by a number that you know", ". Both screens must show the same two lines. If one word differs, do not confirm: somebody may stand between you."),
      wordsView(peer, store),
      h("p", { class: "muted" }, "Last compared: ", peer.verified ? time(peer.verified) : "never", peer.verified_by ? [" by ", told(peer.verified_by)] : null, "."),
    ],
    verb: "Verify",
    onConfirm: async () => {
      store.apply({ event: "peer", peer: await api.post(url`/v1/peers/${peer.name}/verify`) });
    },
  });
}
