/** Fields of people: whose images are expected, and whose files without a header are. */

import { field } from "./decisions.js";
import { h } from "./dom.js";

/** Fields of an expectation, as `--expect-from` has them: key, label, form. */
const EXPECTED = [
  ["patient_id", "Patient ID"],
  ["issuer", "Issuer of the ID"],
  ["patient_name", "Name"],
  ["birth_date", "Birth date", "YYYY-MM-DD"],
  ["sex", "Sex", "M, F or O"],
  ["accession", "Accession number"],
  ["study_uid", "Study UID"],
];
/** Fields of a typed patient, as the options `--patient-...` have them. */
const TYPED = [
  ["id", "Patient ID"],
  ["issuer", "Issuer of the ID"],
  ["name", "Name", "Family^Given"],
  ["birth_date", "Birth date", "YYYY-MM-DD"],
];
const CHARS = 1024;

function inputs(fields) {
  const about = { type: "text", maxlength: CHARS, spellcheck: "false", autocomplete: "off", autocapitalize: "off" };
  return fields.map(([key, text, placeholder]) => [key, text, h("input", { ...about, placeholder })]);
}

/** Return what was filled in, or null for nothing. */
function filled(made) {
  const given = made.map(([key, , input]) => [key, input.value.trim()]).filter(([, value]) => value);
  return given.length ? Object.fromEntries(given) : null;
}

/**
 * Fields for whose images are expected.
 * @param {string} legend
 * @param {string} [hint]
 * @returns {{element: Element, take: () => object|null}} take: what was filled in.
 */
export function expectFields(legend, hint) {
  const made = inputs(EXPECTED);
  const rows = made.map(([, text, input]) => field(text, input));
  const element = h("fieldset", { class: "people" }, h("legend", null, legend), hint ? h("p", { class: "hint" }, hint) : null, h("div", { class: "fields" }, rows));
  return { element, take: () => filled(made) };
}

/**
 * Fields for whose files without a header are.
 * @param {string} legend
 * @returns {{element: Element, take: () => {typed: object|null, no_patient_data: boolean}}}
 */
export function typedFields(legend) {
  const made = inputs(TYPED);
  const none = h("input", { type: "checkbox" });
  const rows = h("div", { class: "fields" }, made.map(([, text, input]) => field(text, input)));
  none.addEventListener("change", () => {
    rows.hidden = none.checked;
  });
  const element = h(
    "fieldset",
    { class: "people" },
    h("legend", null, legend),
    h("p", { class: "hint" }, "Two of ID, name and birth date are needed. Images tell by their headers whose they are."),
    h("label", { class: "choice" }, none, " They hold no patient data"),
    rows,
  );
  return { element, take: () => (none.checked ? { typed: null, no_patient_data: true } : { typed: filled(made), no_patient_data: false }) };
}
