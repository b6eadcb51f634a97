/** The throughput of a running transfer as a small curve, drawn from what its events tell. */

import { setAttribute, svg } from "./dom.js";
import { formatRate } from "./format.js";

/** What a curve shows at most and at least, milliseconds. */
const SPAN_MS = 60_000;
const LEAST_SPAN_MS = 15_000;
/** The receiver journals in groups: a rate over less than this jumps between nothing and too much. */
const WINDOW_MS = 2000;
const WIDTH = 120;
const HEIGHT = 24;

/** The recent throughput of one transfer. */
export class Throughput {
  #points = [];
  #rates = [];

  /**
   * Take note of how far the transfer is. The same number twice says something too: it stands still.
   * @param {number} done Bytes.
   * @param {number} now Milliseconds of a clock that never goes back.
   */
  note(done, now) {
    if (this.#points.length && done < this.#points.at(-1).done) this.#points = [];
    this.#points.push({ done, now });
    while (this.#points.length > 2 && this.#points[1].now <= now - WINDOW_MS) this.#points.shift();
    const first = this.#points[0];
    const passed = now - first.now;
    if (passed > WINDOW_MS / 4) this.#rates.push({ rate: ((done - first.done) * 1000) / passed, now });
    this.#rates = this.#rates.filter((one) => one.now > now - SPAN_MS);
  }

  /** The highest and the newest rate, bytes a second; null before there is one. */
  get summary() {
    if (!this.#rates.length) return null;
    return { highest: Math.max(...this.#rates.map((one) => one.rate)), newest: this.#rates.at(-1).rate };
  }

  /** The curve as path data within WIDTH and HEIGHT; "" before there are two rates. */
  path(now) {
    const highest = this.summary?.highest || 1;
    if (this.#rates.length < 2) return "";
    const span = Math.max(LEAST_SPAN_MS, now - this.#rates[0].now);
    const place = ({ rate, now: then }) => {
      const x = WIDTH * (1 - (now - then) / span);
      const y = (HEIGHT - 2) * (1 - rate / highest) + 1;
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    };
    return `M${this.#rates.map(place).join("L")}`;
  }
}

/** Make an empty curve. */
export function makeSparkline() {
  const line = svg("path", { class: "sparkline-line", d: "" });
  return svg(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": "throughput: not known yet" },
    line,
  );
}

/**
 * Draw what is known.
 * @param {SVGElement} element From makeSparkline.
 * @param {Throughput} throughput
 * @param {number} now The clock of its notes.
 */
export function drawSparkline(element, throughput, now) {
  setAttribute(element.firstElementChild, "d", throughput.path(now));
  const known = throughput.summary;
  const text = known ? `throughput in the last minute: now ${formatRate(known.newest)}, at most ${formatRate(known.highest)}` : "throughput: not known yet";
  setAttribute(element, "aria-label", text);
}
