/**
 * Pictures of a sealed transfer, on request only: one per series, small, marked, and kept nowhere.
 * Asking is audited as instances accessed, and is a fact ("previewed") that the sender hears of.
 */

import { aboutView, actUrl } from "./decisions.js";
import { api } from "./api.js";
import { h, told } from "./dom.js";
import { escapeText, formatCount } from "./format.js";
import { openDialog } from "./dialog.js";

/** Milliseconds for rendering all series, one after the other. */
const PATIENCE_MS = 10 * 60_000;
const MARK = "not for diagnosis";
/** The rest of a data: address would be the same; a blob can be revoked. */
const PNG = "image/png";

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** The picture of a series; its address is given back as soon as it is drawn, or the dialog closes. */
function picture(one, addresses) {
  const alt = escapeText(`${one.modality ?? ""} series, one slice of ${formatCount(one.images, "image")}, ${MARK}`.trim());
  const image = h("img", { alt, width: one.width, height: one.height });
  const address = URL.createObjectURL(new Blob([bytesOf(one.png_b64)], { type: PNG }));
  addresses.add(address);
  const done = () => {
    URL.revokeObjectURL(address);
    addresses.delete(address);
  };
  image.addEventListener("load", done, { once: true });
  image.addEventListener("error", done, { once: true });
  image.src = address;
  return image;
}

/** A series that there was no room or time for is made when it is asked for by itself. */
function missing(one, ask) {
  if (!one.by_itself) return h("p", { class: "preview-none" }, told(one.why || "cannot be shown"));
  return h("div", { class: "preview-none" }, h("button", { type: "button", on: { click: () => ask(one.series) } }, "Preview"));
}

function figure(one, { mark, addresses, ask }) {
  const words = [one.modality, one.description].filter(Boolean);
  const which = one.shown ? `, image ${one.shown} shown` : "";
  return h(
    "figure",
    { class: "preview" },
    h(
      "div",
      { class: "preview-frame" },
      one.png_b64 ? picture(one, addresses) : missing(one, ask),
      h("p", { class: "preview-mark" }, mark),
    ),
    h("figcaption", null, words.length ? words.map((word) => [told(word), " "]) : "series ", h("span", { class: "muted" }, `${formatCount(one.images, "image")}${which}`)),
  );
}

/**
 * Show previews of a transfer in a dialog.
 * @param {object} row
 * @param {Store} store
 */
export async function preview(row, store) {
  const addresses = new Set();
  const stop = new AbortController();
  const place = h("div", { class: "previews", "aria-live": "polite" }, h("p", { class: "muted", role: "status" }, "being made …"));
  const body = (dialog) => {
    fill(dialog, place, row, addresses, stop.signal);
    return [...aboutView(row, store), h("p", { class: "hint" }, "Small pictures for telling studies apart. That you look is written to the audit log, and the sender hears of it."), place];
  };
  await openDialog({ title: "Preview", body, wide: true });
  stop.abort();
  for (const address of addresses) URL.revokeObjectURL(address);
  place.replaceChildren();
}

/** Ask for all series, or for one, and show what came. */
async function fill(dialog, place, row, addresses, signal) {
  const ask = async (series) => {
    dialog.setError(null);
    try {
      const answer = await api.post(actUrl(row, "previews"), series ? { series: [series] } : {}, { signal, patience: PATIENCE_MS });
      return answer.previews.map((one) => ({ one, element: figure(one, { mark: answer.marked || MARK, addresses, ask: (uid) => again(uid) }) }));
    } catch (error) {
      if (!signal.aborted) dialog.setError(error);
      return null;
    }
  };
  const shown = new Map();
  const again = async (uid) => {
    const old = shown.get(uid);
    const waits = h("p", { class: "preview-none", role: "status" }, "being made …");
    old.querySelector(".preview-none").replaceWith(waits);
    const [made] = (await ask(uid)) ?? [];
    if (signal.aborted) return;
    if (!made) {
      waits.replaceWith(h("p", { class: "preview-none" }, "not made"));
      return;
    }
    old.replaceWith(made.element);
    shown.set(uid, made.element);
  };
  const made = await ask(null);
  if (signal.aborted) return;
  for (const { one, element } of made ?? []) shown.set(one.series, element);
  place.replaceChildren(...(made ?? []).map((one) => one.element));
  if (made?.length === 0) place.append(h("p", null, "There is no series with images in it."));
}
