/** A QR code as SVG, from what the daemon computed. */

import { svg } from "./dom.js";

/** What path data of a QR code consists of; nothing else is drawn. */
const PATH = /^[MmHhVvLlZz0-9 .,-]{0,60000}$/;

/**
 * Return the picture of a QR code; null when there is none, or it is not path data.
 * @param {{size: number, path: string}|null|undefined} qr Size in modules, quiet zone included.
 * @param {string} label What it holds, for who cannot see it.
 * @returns {SVGElement|null}
 */
export function qrCode(qr, label) {
  const size = Number(qr?.size);
  if (!Number.isInteger(size) || size < 1 || size > 200 || !PATH.test(qr.path)) return null;
  return svg(
    "svg",
    { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label },
    svg("path", { class: "qr-paper", d: `M0 0h${size}v${size}h-${size}z` }),
    svg("path", { class: "qr-ink", d: qr.path }),
  );
}
