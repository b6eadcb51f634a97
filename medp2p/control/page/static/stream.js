/**
 * The events of the daemon, read by one tab of this browser for all of its tabs (a browser opens six
 * connections to an address, and no more). The tab that holds a lock reads and passes on; when it
 * goes, another takes its place. Reconnects by itself and then fetches the overview anew.
 */

import { api } from "./api.js";

/** Of lock and channel; behind it stands the session, so that one that is over ends no other one. */
const NAME = "medp2p-events-";
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** The daemon says something every 5 s; after so long without a word the connection is dead. */
const SILENCE_MS = 20_000;
/** Changes that come together are fetched together. */
const REFRESH_MS = 150;
const REFRESH_AGAIN_MS = 1000;
/** A tab that does not read waits so long for the reading one before it fetches for itself. */
const OWN_REFRESH_MS = 2500;

/**
 * Read events out of the text of a stream: the JSON of each `data:` line.
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} heard Called for each piece, ticks too.
 */
async function* readEvents(body, heard = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The stream as one tab sees it. */
export class Stream {
  #channel = null;
  #stop = new AbortController();
  #leader = false;
  #refreshing = null;
  #fetching = false;
  #again = false;
  #lastRefresh = 0;
  #wake = () => {};
  #name;
  #sure = true;

  /**
   * @param {string} session What tells its session from others, the same in all of its tabs.
   * @param {object} on
   * @param {(event: object) => void} on.event An event of the daemon.
   * @param {(overview: object) => void} on.overview A whole snapshot.
   * @param {(state: "open"|"lost", sure: boolean) => void} on.state sure: whether it is the daemon of this
   *   session that answers, if anybody does.
   * @param {(why: string) => void} on.ended The session is over.
   * @param {() => void} on.alive A person did something in another tab.
   */
  constructor(session, on) {
    this.#name = NAME + session;
    this.on = on;
  }

  /** Begin; returns at once. */
  start() {
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const { signal } = this.#stop;
    addEventListener("online", () => this.#wake(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake(), { signal });
    navigator.locks.request(this.#name, { signal }, () => this.#lead()).catch(() => {});
    this.#channel.postMessage({ ask: "state" });
    this.refresh();
  }

  /**
   * End for good.
   * @param {string} why "lost" and "again" are about this tab alone; else the others are told.
   */
  stop(why) {
    if (!["lost", "again"].includes(why)) this.#channel?.postMessage({ ended: why === "ended" ? "left" : why });
    this.#stop.abort();
    this.#wake();
    clearTimeout(this.#refreshing);
    this.#channel?.close();
  }

  /** Tell the other tabs that a person is here. */
  alive() {
    this.#channel?.postMessage({ alive: true });
  }

  /**
   * Have the overview fetched soon; many wishes become one. The reading tab fetches for all; one
   * that gets nothing from it in time fetches for itself.
   */
  refresh() {
    if (this.#stop.signal.aborted) return;
    if (this.#refreshing !== null) {
      this.#again = true;
      return;
    }
    const first = this.#lastRefresh === 0;
    if (!first && !this.#leader) this.#channel.postMessage({ ask: "overview" });
    const since = Date.now() - this.#lastRefresh;
    const wait = first ? 0 : this.#leader ? Math.max(REFRESH_MS, REFRESH_AGAIN_MS - since) : OWN_REFRESH_MS;
    this.#refreshing = setTimeout(() => this.#fetch(), wait);
  }

  async #fetch() {
    this.#lastRefresh = Date.now();
    this.#again = false;
    this.#fetching = true;
    try {
      const overview = await api.get("/v1/overview", { signal: this.#stop.signal });
      if (this.#leader) this.#channel.postMessage({ overview });
      this.#take(overview);
    } catch {
      this.#again = this.state !== "lost"; // else the next connection asks
    }
    this.#fetching = false;
    this.#refreshing = null;
    if (this.#again) this.refresh();
  }

  #take(overview) {
    if (!this.#stop.signal.aborted) this.on.overview(overview);
  }

  /** The reading tab has fetched: what this one wished for is here. */
  #taken(overview) {
    this.#lastRefresh = Date.now();
    if (!this.#leader) {
      clearTimeout(this.#refreshing);
      this.#refreshing = null;
    }
    this.#take(overview);
  }

  #hear(message) {
    if (message.event) this.#event(message.event);
    else if (message.overview) this.#taken(message.overview);
    else if (message.state) this.#show(message.state, message.sure);
    else if (message.alive) this.on.alive();
    else if (message.ended) this.on.ended(message.ended);
    else if (!this.#leader) return;
    else if (message.ask === "state") this.#channel.postMessage({ state: this.state, sure: this.#sure });
    else if (message.ask === "overview") this.refresh();
  }

  #tell(state) {
    this.#channel.postMessage({ state, sure: this.#sure });
    this.#show(state, this.#sure);
  }

  #show(state, sure) {
    const back = state === "open" && this.state !== "open";
    this.state = state;
    this.on.state(state, sure);
    if (back) this.refresh();
  }

  /** Read, and read again, until this tab goes. */
  async #lead() {
    this.#leader = true;
    let wait = FIRST_WAIT_MS;
    while (!this.#stop.signal.aborted) {
      if (await this.#read()) wait = FIRST_WAIT_MS;
      if (this.#stop.signal.aborted) return;
      this.#tell("lost");
      await this.#pause(wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  /** Read one connection to its end; tell whether it ever stood. */
  async #read() {
    const silent = new AbortController();
    let timer = setTimeout(() => silent.abort(), SILENCE_MS);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE_MS);
    };
    let stood = false;
    try {
      const signal = AbortSignal.any([silent.signal, this.#stop.signal]);
      const challenge = api.challenge();
      const answer = await fetch("/v1/events", { headers: { ...api.headers, "X-Medp2p-Challenge": challenge }, cache: "no-store", signal });
      api.noteStatus(answer);
      this.#sure = await api.isProved(answer, challenge);
      if (!answer.ok || !this.#sure) {
        silent.abort();
        return false;
      }
      stood = true;
      this.#tell("open");
      for await (const event of readEvents(answer.body, heard)) this.#pass(event);
      this.#sure = false; // it has ended, or will be another one
    } catch {
      this.#sure = false; // the caller tries again
    } finally {
      clearTimeout(timer);
    }
    return stood;
  }

  #pass(event) {
    if (event.event === "session") {
      this.on.ended(event.session?.ended ?? "lost");
      return;
    }
    this.#channel.postMessage({ event });
    this.#event(event);
  }

  /** An event that comes while a snapshot is fetched may be newer than that: it is fetched once more. */
  #event(event) {
    if (this.#fetching && !["transfer", "status"].includes(event.event)) this.#again = true;
    this.on.event(event);
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
