/**
 * The newest snapshot of everything, and who wants to know of changes.
 *
 * Kinds: status, identity, peers, nearby, waiting, active, inbox, outbox, released, alarms, audit,
 * targets, pairing, totals (all as `GET /v1/overview` gives them), connection ({state: "connecting",
 * "open" or "lost"}) and unlisted (how many wait beside those listed; changes with waiting). Transfers in the four lists are one object each, with label and note, however
 * many events without those have come since.
 */

const LISTS = ["waiting", "active", "inbox", "outbox"];
const PLAIN = ["status", "identity", "peers", "nearby", "released", "alarms", "audit", "targets", "pairing", "totals"];
/** Longest time between a change and its showing on a page that nobody sees. */
const HIDDEN_MS = 1000;

/** Records after which something is otherwise that no other event tells. */
const TURNING = new Set(["open", "previewed", "pair", "unpair", "target-add", "target-remove", "release", "withdraw", "config"]);

/** What tells a transfer from all others; one id may stand in both boxes. */
export const keyOf = (row) => `${row.direction}:${row.id}`;

/** Do something whose failure, which is a bug, must not stop the rest of the page. */
export function alone(act) {
  try {
    act();
  } catch (error) {
    reportError(error);
  }
}

/**
 * Return a transfer after an event. Events open no sealed papers: what the snapshot said in more words
 * about the same (names of files in an error, the reason of a decline) stays.
 */
function merged(before, row) {
  const after = { ...before, ...row };
  if (row.error && row.error.code === before.error?.code) after.error = before.error;
  if (!row.reason && row.state === before.state && before.reason?.code === row.state) after.reason = before.reason;
  return after;
}

/** Whether a transfer still waits for what it waited for, after an event. */
function stillWaits(transfer) {
  if (transfer.why === "decide") return transfer.state === "offered";
  if (transfer.why === "release") return ["sealed", "expiring"].includes(transfer.state);
  return true;
}

export class Store {
  #values = new Map();
  #transfers = new Map();
  #subscribers = new Map();
  #listeners = new Set();
  #dirty = new Set();
  #flushing = false;
  #stale = () => {};
  #over = new AbortController();

  /** Of listeners that would outlive the session: ends with it. @returns {AbortSignal} */
  get signal() {
    return this.#over.signal;
  }

  /**
   * @param {() => void} stale Called when an event shows that the snapshot must be fetched anew.
   */
  onStale(stale) {
    this.#stale = stale;
  }

  /** Have the snapshot fetched soon, for instance after an act that no event follows. */
  wish() {
    this.#stale();
  }

  /**
   * Return the newest value of a kind; of the four lists of transfers an array, else what the API gave.
   * @param {string} kind
   */
  get(kind) {
    const value = this.#values.get(kind);
    return LISTS.includes(kind) ? (value ?? []).map((key) => this.#transfers.get(key)).filter(Boolean) : value;
  }

  /**
   * Return one transfer as far as it is known here.
   * @param {string} direction "in" or "out"
   * @param {string} id
   */
  transfer(direction, id) {
    return this.#transfers.get(`${direction}:${id}`);
  }

  /** Set the value of a kind that holds no transfers, and tell its subscribers. */
  set(kind, value) {
    this.#values.set(kind, value);
    this.#mark(kind);
  }

  /**
   * Be told of changes: at once if there is a value, later at most once a frame.
   * @param {string} kind
   * @param {(value: any) => void} show
   * @returns {() => void} Ends it.
   */
  subscribe(kind, show) {
    const all = this.#subscribers.get(kind) ?? new Set();
    this.#subscribers.set(kind, all.add(show));
    if (this.#values.has(kind)) show(this.get(kind));
    return () => all.delete(show);
  }

  /**
   * Be told of each event of the daemon as it comes, before it is applied.
   * @param {(event: object, before: object|undefined) => void} hear before: the transfer as it was.
   * @returns {() => void} Ends it.
   */
  onEvent(hear) {
    this.#listeners.add(hear);
    return () => this.#listeners.delete(hear);
  }

  /** Take over a whole snapshot (`GET /v1/overview`). */
  load(overview) {
    const kept = new Map();
    for (const kind of LISTS) {
      const rows = overview[kind] ?? [];
      for (const row of rows) kept.set(keyOf(row), { ...kept.get(keyOf(row)), ...row });
      this.#values.set(kind, rows.map(keyOf));
      this.#mark(kind);
    }
    this.#transfers = kept;
    this.#values.set("unlisted", Math.max(0, (overview.totals?.waiting ?? 0) - (overview.waiting?.length ?? 0)));
    for (const kind of PLAIN) if (kind in overview) this.set(kind, overview[kind]);
  }

  /** Take over one event of the stream. */
  apply(event) {
    const kind = event.event;
    const about = event[kind];
    const before = kind === "transfer" ? this.#transfers.get(keyOf(about)) : undefined;
    for (const hear of this.#listeners) alone(() => hear(event, before));
    if (kind === "transfer") this.#applyTransfer(about, before);
    else if (kind === "peer") this.#applyPeer(about);
    else if (kind === "alarm") this.#applyAlarm(about);
    else if (kind === "missed") this.#stale();
    else if (kind === "audit") this.#applyAudit(about);
    else if (["status", "pairing", "nearby"].includes(kind)) this.set(kind, about);
  }

  /** Forget everything, and everyone who wanted to know. */
  clear() {
    this.#over.abort();
    this.#over = new AbortController();
    for (const all of [this.#values, this.#transfers, this.#subscribers, this.#listeners, this.#dirty]) all.clear();
  }

  #applyTransfer(row, before) {
    const held = (transfer) => transfer?.held?.code;
    const turned = !before || before.state !== row.state || held(before) !== held(row) || before.sealed !== row.sealed;
    if (turned || before.checked !== row.checked) this.#stale();
    if (!before) return;
    const key = keyOf(row);
    const after = merged(before, row);
    this.#transfers.set(key, after);
    if (!stillWaits(after)) this.#values.set("waiting", (this.#values.get("waiting") ?? []).filter((one) => one !== key));
    for (const kind of LISTS) if (this.#values.get(kind)?.includes(key)) this.#mark(kind);
    if (!stillWaits(after)) this.#mark("waiting");
  }

  #applyPeer(peer) {
    const peers = this.#values.get("peers") ?? [];
    if (!peers.some((one) => one.name === peer.name)) this.#stale();
    this.set("peers", peers.map((one) => (one.name === peer.name ? { ...one, ...peer } : one)));
  }

  #applyAlarm(alarm) {
    const others = (this.#values.get("alarms") ?? []).filter((one) => one.id !== alarm.id);
    this.set("alarms", [alarm, ...others]);
  }

  #applyAudit(records) {
    const last = this.#values.get("audit")?.at(-1)?.seq ?? Infinity;
    if (records.some((record) => record.seq > last && TURNING.has(record.event))) this.#stale();
    this.set("audit", records);
  }

  #mark(kind) {
    this.#dirty.add(kind);
    if (this.#flushing) return;
    this.#flushing = true;
    // A page that nobody sees draws no frames, and may stop to do so between the two.
    const frame = requestAnimationFrame(() => flush());
    const timer = setTimeout(() => flush(), HIDDEN_MS);
    const flush = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      this.#flush();
    };
  }

  #flush() {
    this.#flushing = false;
    const kinds = [...this.#dirty];
    this.#dirty.clear();
    for (const kind of kinds) {
      for (const show of this.#subscribers.get(kind) ?? []) alone(() => show(this.get(kind)));
    }
  }
}
