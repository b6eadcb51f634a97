/** What is under way, in both directions: progress, rate, time left, phase, and why it waits. */

import { Throughput, drawSparkline, makeSparkline } from "./sparkline.js";
import { formatBytes, formatDuration, formatRate } from "./format.js";
import { h, patchList, setAttribute, setText } from "./dom.js";
import { keyOf } from "./store.js";
import { isWhole, makeCard, updateCard, verbsOf } from "./transfers.js";

/** A transfer that moves tells itself twice a second; one that stands still is noted by the clock. */
const STILL_MS = 2000;
const MOVING = ["sending", "receiving"];
/** Nothing moves before it is accepted. */
const BEFORE = ["preparing", "ready", "queued", "waiting", "offered"];

/** How much is done, in per cent; rounded down, so that 100 is all. */
function share(row) {
  if (isWhole(row)) return 100;
  return row.bytes ? Math.min(99, Math.floor((100 * row.bytes_done) / row.bytes)) : 0;
}

/** Rate and time left of a transfer that moves, or "". */
function pace(row) {
  if (!row.rate || !MOVING.includes(row.state)) return "";
  return `${formatRate(row.rate)}, ${formatDuration(Math.max(0, row.bytes - row.bytes_done) / row.rate)} left`;
}

function makeProgress(row) {
  const bar = h("progress", { max: 100, value: 0, "aria-label": row.direction === "in" ? "received" : "sent" });
  const text = h("span", { class: "progress-text" });
  const rate = h("span", { class: "progress-pace" });
  const curve = makeSparkline();
  return { bar, text, rate, curve, element: h("div", { class: "progress" }, bar, h("div", { class: "progress-line" }, text, rate, curve)) };
}

/** Fill the region. */
export function mount(section, store) {
  const list = h("ul", { class: "cards" });
  const empty = h("p", { class: "empty" }, "Nothing is under way. “Send” begins something.");
  const flows = new Map();
  const shown = new WeakMap();
  section.append(empty, list);

  const make = (row) => {
    const progress = makeProgress(row);
    const card = makeCard(row, { store, extra: progress.element });
    const item = h("li", null, card);
    shown.set(item, { card, progress });
    return item;
  };

  const note = (row) => {
    const flow = flows.get(keyOf(row)) ?? new Throughput();
    flows.set(keyOf(row), flow);
    if (MOVING.includes(row.state)) flow.note(row.bytes_done, performance.now());
    return flow;
  };

  const draw = (item, row) => {
    const { card, progress } = shown.get(item);
    const flow = flows.get(keyOf(row)) ?? note(row);
    const done = share(row);
    updateCard(card, row, [...verbsOf(row), "Show"]);
    progress.element.hidden = BEFORE.includes(row.state) && row.bytes_done === 0;
    setAttribute(progress.bar, "value", done);
    setText(progress.text, `${done} %, ${formatBytes(row.bytes_done)} of ${formatBytes(row.bytes)}`);
    setText(progress.rate, pace(row));
    drawSparkline(progress.curve, flow, performance.now());
    setAttribute(progress.curve, "data-idle", flow.summary ? null : "yes");
  };

  const show = () => {
    const rows = store.get("active");
    for (const key of flows.keys()) if (!rows.some((row) => keyOf(row) === key)) flows.delete(key);
    empty.hidden = rows.length > 0;
    const focused = list.contains(document.activeElement);
    patchList(list, rows, keyOf, make, draw);
    if (focused && !list.contains(document.activeElement)) document.getElementById("active-title").focus();
  };

  store.onEvent((event) => {
    if (event.event === "transfer" && MOVING.includes(event.transfer.state)) note(event.transfer);
  });
  store.subscribe("active", show);
  store.subscribe("peers", show);
  const timer = setInterval(() => {
    if (!section.isConnected) return clearInterval(timer);
    const still = store.get("active").filter((row) => MOVING.includes(row.state));
    for (const row of still) note(row);
    if (still.length) show();
  }, STILL_MS);
}
