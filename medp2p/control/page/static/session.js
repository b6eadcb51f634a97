/**
 * The session of this tab: opened with a one-time token, gone on with after a reload, ended by a
 * person, by idleness, or by the daemon.
 *
 * The secret lies in sessionStorage, which no other tab, port or origin can read; the cookie beside
 * it is the browser's, and neither is enough alone.
 */

import { ApiError, api } from "./api.js";

const SECRET = "medp2p-secret";
const IDLE = "medp2p-idle";
const NAME = "medp2p-session";
/** How often the daemon is told at most that a person is here. */
const ALIVE_MS = 30_000;
const SIGNS = ["pointerdown", "keydown", "wheel", "touchstart", "pointermove"];

/**
 * Take the one-time token out of the address, which is cleared before anything else happens.
 * @returns {string|null}
 */
export function takeToken() {
  const token = location.hash.slice(1);
  if (location.hash) history.replaceState(null, "", location.pathname);
  return /^[A-Za-z0-9_-]{20,200}$/.test(token) ? token : null;
}

/** One session; made once, may be begun again after its end. */
export class Session {
  #timer = null;
  #used = 0;
  #idleMs = 0;
  #toldAlive = 0;
  #listening = null;

  /**
   * @param {(why: string) => void} onEnd Called once at each end, with what was given to `end`.
   * @param {() => void} onAlive Called when a person did something here, seldom.
   */
  constructor(onEnd, onAlive = () => {}) {
    this.onEnd = onEnd;
    this.onAlive = onAlive;
  }

  /**
   * Begin with a token, or go on with the secret of this tab.
   * @param {string|null} token
   * @returns {Promise<boolean>} Whether there is a session now.
   * @throws {ApiError} The daemon refused the token, or did not answer.
   */
  async begin(token) {
    if (token) {
      const opened = await api.post("/session", { token });
      sessionStorage.setItem(SECRET, opened.secret);
      sessionStorage.setItem(IDLE, String(opened.idle_seconds));
      sessionStorage.setItem(NAME, opened.session);
    }
    const secret = sessionStorage.getItem(SECRET);
    if (!secret) return false;
    api.use(secret, () => this.end("lost"));
    this.#watch(Number(sessionStorage.getItem(IDLE)) || 600);
    return true;
  }

  /** What tells this session from others of this browser; no secret. */
  get name() {
    return sessionStorage.getItem(NAME) ?? "";
  }

  /** Note that a person did something, here or in another tab of this session. */
  touch() {
    this.#used = Date.now();
  }

  /**
   * End it: nothing can be asked any more from here.
   * @param {string} why "idle", "ended" (by a person, here), "lost" (the daemon knows no such session), or
   *   what the daemon or another tab says.
   */
  end(why) {
    if (!this.#listening) return;
    this.#listening.abort();
    this.#listening = null;
    clearInterval(this.#timer);
    if (why === "ended") api.delete("/session").catch(() => {});
    sessionStorage.removeItem(SECRET);
    sessionStorage.removeItem(IDLE);
    sessionStorage.removeItem(NAME);
    api.use(null);
    this.onEnd(why);
  }

  #watch(idleSeconds) {
    this.#listening?.abort();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    this.#allow(idleSeconds);
    this.touch();
    for (const sign of SIGNS) {
      addEventListener(sign, () => this.#sign(), { signal, passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => this.#check(), { signal });
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#check(), 1000);
  }

  /** Take over how long nobody may do anything; the setting can change meanwhile. */
  #allow(idleSeconds) {
    if (idleSeconds > 0) this.#idleMs = idleSeconds * 1000;
  }

  #sign() {
    this.touch();
    if (Date.now() - this.#toldAlive < Math.min(ALIVE_MS, this.#idleMs / 4)) return;
    this.#toldAlive = Date.now();
    this.onAlive();
    api.post("/session/alive").then(
      (told) => this.#allow(told.idle_seconds),
      (error) => {
        if (!(error instanceof ApiError)) throw error;
      },
    );
  }

  /** Timers sleep with the machine, so the clock on the wall is asked. */
  #check() {
    if (Date.now() - this.#used >= this.#idleMs) this.end("idle");
  }
}
