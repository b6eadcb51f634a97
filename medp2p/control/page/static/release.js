/** The dialog of a release: where to, whose images are expected, what may pass, for how long. */

import { LONG_MS, aboutView, actUrl, field } from "./decisions.js";
import { api, url } from "./api.js";
import { checkView } from "./label.js";
import { escapeText } from "./format.js";
import { expectFields } from "./expect.js";
import { folderField } from "./browse.js";
import { h, told } from "./dom.js";
import { openDialog } from "./dialog.js";
import { placeOf } from "./transfers.js";

const FOLDER = "";
const DIFFERS = "label-differs";
/** Units of a time, as `--for` takes them. */
const UNITS = [
  [1, ["s", "sec", "second", "seconds"]],
  [60, ["m", "min", "minute", "minutes"]],
  [3600, ["h", "hour", "hours"]],
  [86_400, ["d", "day", "days"]],
  [604_800, ["w", "week", "weeks"]],
];

/**
 * Read a time such as "8h", "30 min" or "2 days".
 * @param {string} text
 * @returns {number|null} Seconds; null for none.
 * @throws {Error} It is no time.
 */
export function secondsOf(text) {
  if (!text.trim()) return null;
  const found = /^\s*(\d{1,9})\s*([a-z]+)\s*$/.exec(text.toLowerCase());
  const unit = UNITS.find(([, words]) => found && words.includes(found[2]));
  if (!unit) throw new Error("That is no time; such as 8h, 30min or 2d.");
  return Number(found[1]) * unit[0];
}

/** Where to: a named target, or a folder. */
function place(targets) {
  const options = targets.map((target) => h("option", { value: target.name }, escapeText(`${target.name} (${target.target})`)));
  const select = h("select", { autofocus: targets.length > 0 }, options, h("option", { value: FOLDER }, "a folder"));
  const folder = folderField("Folder");
  if (!targets.length) folder.control.autofocus = true;
  const follow = () => {
    folder.element.hidden = select.value !== FOLDER;
  };
  select.addEventListener("change", follow);
  follow();
  return {
    element: h("div", { class: "paths" }, targets.length ? field("Where to", select) : null, folder.element),
    take: async () => (select.value === FOLDER || !targets.length ? { to_b64: (await folder.take()).path_b64 } : { target: select.value }),
  };
}

/** What holds it, and what a person can let pass. */
function holds(row, dialog) {
  if (row.check?.result !== "differs") {
    const held = row.held ? h("p", { class: "held" }, h("strong", null, "HELD: "), told(row.held.text || row.held.code)) : null;
    return { element: h("div", null, held), take: () => [] };
  }
  const box = h("input", { type: "checkbox" });
  box.addEventListener("change", () => dialog.setVerb("Release", box.checked));
  const text = " Let it pass all the same (label-differs). Call the sender first; this is audited.";
  return { element: h("label", { class: "choice held" }, box, text), take: () => (box.checked ? [DIFFERS] : []) };
}

function mappedView(row) {
  return row.mapped.map((pair) => h("li", null, told(pair.from.path), " is now ", told(pair.to.path)));
}

/**
 * Ask where to, and release.
 * @param {object} row
 * @param {Store} store
 * @param {{error: Function, done: Function, over: Function}} on
 */
export async function release(row, store, on) {
  const full = await api.get(url`/v1/transfers/${row.id}${{ direction: "in" }}`);
  const where = place(store.get("targets") ?? []);
  const expected = expectFields("Expected patient (optional)", "Refused if the images are anybody else's. An ID, or name and birth date, at least.");
  const time = h("input", { type: "text", spellcheck: "false", autocomplete: "off", placeholder: "8h" });
  let pass = null;
  let open = true;
  const order = async () => {
    const expect = expected.take();
    const seconds = secondsOf(time.value);
    return { ...(await where.take()), allow: pass.take(), ...(expect ? { expect } : {}), ...(seconds === null ? {} : { for_seconds: seconds }) };
  };
  const after = await openDialog({
    title: "Release this transfer?",
    body: (dialog) => {
      pass = holds(full, dialog);
      return [
        ...aboutView(full, store),
        checkView(full.check),
        pass.element,
        where.element,
        h("details", { class: "more" }, h("summary", null, "Expected patient, time limit"), expected.element, field("Remove unchanged files after (empty: never)", time, "Such as 8h, 30min or 2d. The sealed transfer stays.")),
      ].filter(Boolean);
    },
    verb: "Release",
    onConfirm: async () => {
      const body = await order();
      try {
        const after = await api.post(actUrl(row, "release"), body, { patience: LONG_MS });
        on.over("released into ", told(placeOf(after.released_to), { class: "path" }));
        return after;
      } catch (error) {
        if (!open) on.error(error);
        throw error;
      }
    },
  });
  open = false;
  if (!after) return;
  if (after.mapped?.length) {
    await openDialog({ title: "Released, with other names", body: [h("p", null, "Names that the folder cannot hold were changed:"), h("ul", { class: "files" }, mappedView(after))] });
  }
}
