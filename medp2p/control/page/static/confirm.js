/** The second step of a send: recipient and label side by side, what was found, and what must be typed. */

import { api, url } from "./api.js";
import { expectFields, typedFields } from "./expect.js";
import { field } from "./decisions.js";
import { findingsView, labelView, patientLine } from "./label.js";
import { escapeText, formatBytes, formatCount } from "./format.js";
import { errorPlace, h, showError, told } from "./dom.js";
import { recipientView } from "./recipient.js";

const PURPOSES = ["treatment", "second-opinion", "legal", "patient-request", "research", "other"];
const SKIPPED_SHOWN = 10;
/** Stands for what must be typed. */
const HIDDEN = "\u2022";
/** Findings that splitting by patient settles. */
const OF_SEVERAL = ["mixed-patients", "study-two-patients"];

/** Codes of findings that stop, and may be let pass for this peer. */
function passable(peer, part) {
  const settings = peer.settings ?? {};
  const permitted = new Set([...(settings.allow ?? "").split(",").filter(Boolean), "same-instance"]);
  if (settings["allow-mixed"] === "yes") permitted.add("mixed-patients");
  const level = (code) => part.findings.find((one) => one.code === code)?.level;
  return part.stops.filter((code) => level(code) !== "block" || permitted.has(code));
}

function checkbox(text) {
  const box = h("input", { type: "checkbox" });
  return { box, element: h("label", { class: "choice" }, box, ` ${text}`) };
}

/** What stops a part: what may pass after all, and what else helps. */
function stopsView(peer, part, wishes) {
  const may = passable(peer, part);
  const passes = may.map((code) => ({ code, ...checkbox(`Let it pass: ${code}`) }));
  const split = part.stops.some((code) => OF_SEVERAL.includes(code)) && !wishes.split ? checkbox("Split by patient: one transfer for each") : null;
  const never = part.stops.filter((code) => !may.includes(code));
  const element = h(
    "div",
    { class: "stops" },
    h("p", { class: "warning" }, `The check of the files stops this: ${part.stops.map(escapeText).join(", ")}.`),
    passes.map((one) => one.element),
    split?.element,
    never.length ? h("p", { class: "hint" }, `The settings of ${escapeText(peer.name)} (allow) do not permit to let this pass: ${never.map(escapeText).join(", ")}. Leave files out, or choose others.`) : null,
  );
  const take = () => {
    const allow = passes.filter((one) => one.box.checked).map((one) => one.code);
    if (!allow.length && !split?.box.checked) throw new Error(`Nothing has changed: ${part.stops.join(", ")} still stops this.`);
    return { allow, ...(split?.box.checked ? { split: true } : {}) };
  };
  return { element, take };
}

/** The patients of whom something must be typed, one field each. */
function typedView(scan, part) {
  const inputs = part.asked.map((patient) => {
    const whole = !`${patient.id}${patient.birth_date}`.includes(HIDDEN);
    const name = escapeText(patient.name) || "this patient";
    const input = h("input", { type: "text", spellcheck: "false", autocomplete: "off", autocapitalize: "off", maxlength: 200, required: true });
    const text = whole ? `Type the whole name of ${name}: there is no ID and no birth date` : `Type the birth year of ${name}, or only the last four of the ID`;
    return { input, element: field(text, input, "As on the request form.") };
  });
  const shown = h("div", { class: "revealed", role: "status" });
  const alert = errorPlace();
  const reveal = h("button", { type: "button" }, "Reveal");
  reveal.addEventListener("click", async () => {
    showError(alert, null);
    try {
      const label = await api.post(url`/v1/scans/${scan.scan}/reveal`, { part: part.part });
      shown.replaceChildren(...(label.asked ?? label.patients).map((patient) => patientLine(patient)));
    } catch (error) {
      showError(alert, error);
    }
  });
  const expect = expectFields("Whose images are meant, in place of the typing", "An ID, or name and birth date, at least. Every field that is given must be the same in the files.");
  const element = h(
    "div",
    { class: "typed" },
    inputs.map((one) => one.element),
    part.masked ? h("div", { class: "actions" }, reveal, h("span", { class: "hint" }, "shows what is masked; this is audited")) : null,
    alert,
    shown,
    h("details", { class: "more" }, h("summary", null, "Give an expectation in place of the typing"), expect.element),
  );
  const take = () => {
    const expected = expect.take();
    if (expected) return { expect: [expected] };
    const empty = inputs.find((one) => !one.input.value.trim());
    if (!empty) return { answers: inputs.map((one) => one.input.value.trim()) };
    empty.input.focus();
    throw new Error("Not confirmed: nothing was typed.");
  };
  return { element, take, first: inputs[0]?.input };
}

/** An expectation for each patient. */
function expectView(part) {
  const count = Math.max(1, part.asked.length);
  const forms = Array.from({ length: count }, (_, number) => expectFields(count > 1 ? `Expected patient ${number + 1} of ${count}` : "Expected patient", number ? undefined : "An ID, or name and birth date, at least. Every field that is given must be the same in the files."));
  const take = () => {
    const expect = forms.map((form) => form.take()).filter(Boolean);
    if (!expect.length) throw new Error("This send wants an expectation: say whose images are meant.");
    return { expect };
  };
  return { element: h("div", { class: "expected" }, forms.map((form) => form.element)), take };
}

/** Nothing of a patient can be compared: the recipient is named. */
function nameView(peer) {
  const input = h("input", { type: "text", spellcheck: "false", autocomplete: "off", autocapitalize: "off", required: true });
  const take = () => {
    if (input.value.trim() === peer.name) return { yes: true };
    input.focus();
    throw new Error("Not confirmed: that is not the name of the recipient.");
  };
  return { element: field(`To send this, type the name of the recipient (${peer.name})`, input), take, first: input };
}

/** Whose the files without a header are: asked for before anything else. */
function labelForm(part) {
  const form = typedFields(`${formatCount(part.label.loose, "file")} without a DICOM header: ${part.label.loose === 1 ? "whose is it" : "whose are they"}?`);
  const take = () => {
    const said = form.take();
    if (!said.typed && !said.no_patient_data) throw new Error("Say whose they are, or that they hold no patient data.");
    return said;
  };
  return { element: form.element, take };
}

/** What a part wants of the person. */
function wantsView(scan, part, peer) {
  if (part.wants === "expect") return expectView(part);
  if (part.wants === "typed" && part.asked.length) return typedView(scan, part);
  return nameView(peer);
}

function partView(part, number, count, peer, ask) {
  const title = count > 1 ? `Transfer ${number + 1} of ${count}` : "Whose images";
  return h(
    "section",
    { class: "part", data: { part: part.part } },
    h(
      "div",
      { class: "beside" },
      h("div", null, h("h3", null, "Recipient"), recipientView(peer)),
      h("div", null, h("h3", null, title), labelView(part.label), h("p", { class: "muted" }, `${formatCount(part.files, "file")}, ${formatBytes(part.bytes)}${part.skipped ? `, ${part.skipped} skipped` : ""}`)),
    ),
    findingsView(part.findings, part.label.allowed),
    ask?.element,
  );
}

function skippedView(skipped) {
  if (!skipped.length) return null;
  const line = (one) => h("li", null, told(one.path, { class: "path" }), " (", told(one.why), ")");
  const more = skipped.length - SKIPPED_SHOWN;
  return h("details", { class: "more", open: true }, h("summary", null, `Skipped: ${skipped.length}`), h("ul", { class: "files" }, skipped.slice(0, SKIPPED_SHOWN).map(line), more > 0 ? h("li", { class: "muted" }, `and ${more} more`) : null));
}

/**
 * Make the second step over a finished scan.
 * @param {object} scan
 * @param {object} peer As it is now.
 * @param {object} wishes What was asked of the scan.
 * @returns {{element: Element, again: (() => object)|null, take: () => object[], first: Element|undefined}}
 *   again: the wishes of another look, where one is needed before anything can be sent;
 *   take: a confirmation for each part, in order.
 */
export function makeConfirmation(scan, peer, wishes) {
  const { parts } = scan;
  const purpose = h("select", null, h("option", { value: "" }, "choose"), PURPOSES.map((word) => h("option", { value: word }, word)));
  const stopped = parts.some((part) => part.stops.length);
  const unlabelled = parts.find((part) => part.wants === "label");
  const asks = parts.map((part) => {
    if (stopped) return part.stops.length ? stopsView(peer, part, wishes) : null;
    if (unlabelled) return part === unlabelled ? labelForm(part) : null;
    return wantsView(scan, part, peer);
  });
  const looking = stopped || unlabelled !== undefined;
  const wanted = !looking && parts.some((part) => part.purpose_wanted);
  const element = h(
    "div",
    { class: "confirmation" },
    skippedView(scan.skipped),
    parts.map((part, number) => partView(part, number, parts.length, peer, asks[number])),
    wanted ? field("Purpose (the recipient is outside; this is audited)", purpose) : null,
  );
  const again = () => {
    const said = asks.filter(Boolean).map((ask) => ask.take());
    const allow = [...new Set([...(wishes.allow ?? []), ...said.flatMap((one) => one.allow ?? [])])];
    return { ...wishes, ...Object.assign({}, ...said), allow };
  };
  const take = () => {
    const why = wanted ? { purpose: purpose.value } : {};
    if (wanted && !purpose.value) {
      purpose.focus();
      throw new Error("A recipient outside wants a purpose.");
    }
    return asks.map((ask) => ({ ...ask.take(), ...why }));
  };
  return { element, again: looking ? again : null, take, first: asks.find((ask) => ask?.first)?.first };
}
