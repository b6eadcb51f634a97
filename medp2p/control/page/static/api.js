/**
 * Asking the daemon: JSON over fetch, with the secret of this session. A refusal is an ApiError
 * with the daemon's own words.
 */

import { inPageWords } from "./hints.js";

/** Milliseconds after which an answer is not waited for any more, unless a call says otherwise. */
const PATIENCE_MS = 60_000;

/** A refusal of the daemon, or no answer at all (code "lost"). */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status; 0 when no answer came.
   * @param {{code?: string, text?: string, hint?: string|null, [key: string]: unknown}} error
   */
  constructor(status, error) {
    super(inPageWords(error.text ?? `the daemon answered ${status}`));
    this.name = "ApiError";
    this.status = status;
    this.code = error.code ?? "error";
    this.text = this.message;
    this.hint = inPageWords(error.hint);
    this.detail = error;
  }
}

/**
 * Make an address with each value encoded: url`/v1/peers/${name}`. A value that is an object
 * becomes a query; null, undefined and "" in it are left out: url`/v1/search${{peer, limit: 50}}`.
 * @returns {string}
 */
export function url(parts, ...values) {
  return parts.reduce((address, part, index) => address + encoded(values[index - 1]) + part);
}

function encoded(value) {
  if (value === null || typeof value !== "object") return encodeURIComponent(value);
  const given = Object.entries(value).filter(([, text]) => text != null && text !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

const bytesOf = (text) => new TextEncoder().encode(text);
const hexOf = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** What a refusal says; those of the checks in front of every address are plain text. */
function refusal(text) {
  try {
    return JSON.parse(text).error ?? {};
  } catch {
    return {};
  }
}

class Api {
  #secret = null;
  #onLost = () => {};
  #held = false;

  /**
   * Use a session from now on.
   * @param {string|null} secret null: forget it.
   * @param {() => void} [onLost] Called when the daemon says that it is over.
   */
  use(secret, onLost = () => {}) {
    this.#secret = secret;
    this.#onLost = onLost;
    this.#held = false;
  }

  /**
   * Ask nothing, for it is not certain who would answer: another program may have got the daemon's port.
   * @param {boolean} held
   */
  hold(held) {
    this.#held = held;
  }

  /** Return a fresh challenge, to be sent as X-Medp2p-Challenge. */
  challenge() {
    return hexOf(crypto.getRandomValues(new Uint8Array(16)));
  }

  /**
   * Whether an answer comes from the daemon of this session: only that knows what the secret's digest is.
   * @param {Response} response
   * @param {string} challenge
   * @returns {Promise<boolean>}
   */
  async isProved(response, challenge) {
    const digest = await crypto.subtle.digest("SHA-256", bytesOf(this.#secret ?? ""));
    const key = await crypto.subtle.importKey("raw", digest, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    return response.headers.get("X-Medp2p-Proof") === hexOf(await crypto.subtle.sign("HMAC", key, bytesOf(challenge)));
  }

  /** Headers of a request of this session. */
  get headers() {
    return this.#secret ? { "X-Medp2p-Session": this.#secret } : {};
  }

  /**
   * @param {string} address
   * @param {{signal?: AbortSignal, patience?: number}} [options] patience: milliseconds.
   */
  get(address, options) {
    return this.#ask("GET", address, undefined, options);
  }

  /**
   * @param {string} address
   * @param {object} [body]
   * @param {{signal?: AbortSignal, patience?: number}} [options]
   */
  post(address, body, options) {
    return this.#ask("POST", address, body ?? {}, options);
  }

  /** As post. */
  patch(address, body, options) {
    return this.#ask("PATCH", address, body ?? {}, options);
  }

  /** As get. */
  delete(address, options) {
    return this.#ask("DELETE", address, undefined, options);
  }

  /**
   * Tell that an answer said the session is over (also the event stream asks here).
   * @param {Response} response
   * @param {string|null} secret With which it was asked.
   */
  noteStatus(response, secret = this.#secret) {
    if (response.status === 401 && secret !== null && secret === this.#secret) this.#onLost();
  }

  async #ask(method, address, body, { signal, patience = PATIENCE_MS } = {}) {
    const secret = this.#secret;
    const signals = [AbortSignal.timeout(patience), ...(signal ? [signal] : [])];
    const init = { method, headers: this.headers, credentials: "same-origin", cache: "no-store", signal: AbortSignal.any(signals) };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { ...init.headers, "Content-Type": "application/json" };
    }
    let response, text;
    if (this.#held) throw new ApiError(0, { code: "lost", text: "the connection to the daemon is lost", hint: "it comes back by itself, or run medp2p web" });
    try {
      response = await fetch(address, init);
      text = await response.text();
    } catch (cause) {
      if (signal?.aborted) throw cause;
      throw new ApiError(0, { code: "lost", text: "no answer from the daemon", hint: "it may be restarting; try again" });
    }
    if (response.ok) return JSON.parse(text);
    this.noteStatus(response, secret);
    throw new ApiError(response.status, refusal(text));
  }
}

/** The one way to the daemon. */
export const api = new Api();
