/**
 * Whose images a transfer holds, and what was found in its files: the words are those of
 * `medp2p inbox show` and of the confirmation of `medp2p send`.
 */

import { h, told } from "./dom.js";
import { escapeText, formatCount, formatTime } from "./format.js";

/** Lines of each kind that are shown at once; the rest stands behind a summary. */
const SERIES_SHOWN = 3;
const STUDIES_SHOWN = 3;
const PATIENTS_SHOWN = 6;
const FILES_SHOWN = 5;
const FINDINGS_SHOWN = 4;
const DIFFERENCES_SHOWN = 20;
/** Patients that a dialog names one by one. */
const NAMED = 5;

const MARKS = { block: "BLOCK", hold: "HOLD", warn: "warning", info: "note" };
const STOPPING = ["block", "hold"];
const RESULTS = {
  agrees: "The files are what the label promised.",
  differs: "THE FILES ARE NOT WHAT THE LABEL PROMISED.",
  "no-label": "No label was promised; below is what the files say.",
  broken: "THE SEALED FILE IS DAMAGED.",
};

/** "19700203" as "1970-02-03"; anything else as it is. */
function date(text) {
  const plain = escapeText(text);
  return /^[^-]{8}$/.test(plain) ? `${plain.slice(0, 4)}-${plain.slice(4, 6)}-${plain.slice(6)}` : plain;
}

/** A word about a patient; one that is missing is told, and marked. */
function fact(name, value, missing) {
  if (!value) return missing ? h("span", { class: "fact missing" }, missing) : null;
  return h("span", { class: "fact" }, h("span", { class: "fact-name" }, `${name} `), told(value));
}

/**
 * One patient in one line: name, ID, birth date, sex.
 * @param {object} patient As a label has it.
 * @param {...(Node|string|null)} more What stands behind it.
 * @returns {HTMLElement}
 */
export function patientLine(patient, ...more) {
  const raw = [patient.raw_name, patient.raw_id].filter(Boolean);
  return h(
    "p",
    { class: "patient" },
    patient.name ? told(patient.name, { class: "patient-name" }) : h("span", { class: "patient-name missing" }, "no name"),
    " ",
    fact("ID", patient.id, "no ID"),
    patient.id && patient.issuer ? fact(" of", patient.issuer) : null,
    " ",
    fact("born", date(patient.birth_date), "no birth date"),
    " ",
    fact("sex", patient.sex),
    " ",
    raw.length ? h("span", { class: "fact raw" }, "as it stands in the file: ", raw.map((text) => [told(text), " "])) : null,
    more,
  );
}

/** A list that shows its first lines, and the others on demand. */
function list(name, items, shown, what) {
  if (!items.length) return null;
  const all = items.map((item) => h("li", null, item));
  const rest = all.splice(shown);
  const visible = all.length ? h("ul", { class: name }, all) : null;
  if (!rest.length) return visible;
  const summary = h("summary", null, all.length ? `and ${formatCount(rest.length, ...what)}` : formatCount(rest.length, ...what));
  return [visible, h("details", { class: "more" }, summary, h("ul", { class: name }, rest))];
}

function seriesLine(one) {
  const words = [one.number, one.modality, one.description].filter((word) => word !== null && word !== "" && word !== undefined);
  return [words.length ? words.map((word) => [told(word), " "]) : "series ", h("span", { class: "muted" }, formatCount(one.images, "image"))];
}

/** One study; its series fold when it is not the only one: what can be decided stays in sight. */
function studyLine(study, series, alone) {
  const modalities = (study.modalities ?? []).join(", ");
  const accessions = (study.accessions ?? []).join(", ");
  const words = [modalities, date(study.date), study.description].filter(Boolean);
  const name = h("span", { class: "study" }, words.length ? words.map((word) => [told(word), " "]) : "study ");
  const counts = [`${formatCount(study.images, "image")} in ${formatCount(study.series, "series", "series")}`, accessions ? [", accession ", told(accessions)] : null];
  const lines = series.map(seriesLine);
  if (lines.length && (!alone || lines.length > SERIES_SHOWN)) {
    return [name, h("details", { class: "more" }, h("summary", null, counts), h("ul", { class: "series" }, lines.map((line) => h("li", null, line))))];
  }
  return [name, h("span", { class: "muted" }, counts), list("series", lines, SERIES_SHOWN, ["series", "series"])];
}

/** What is said about files that are no images of a patient. */
function countLines(label) {
  const beside = label.without_header - label.loose;
  return [
    label.directories ? `DICOMDIR: ${label.directories}` : null,
    label.unverified ? `label not verified: ${formatCount(label.unverified, "file")}` : null,
    label.no_patient_data ? `${formatCount(label.loose, "file")}: no patient data, says the sender` : null,
    label.loose && !label.no_patient_data && !label.typed
      ? `${formatCount(label.loose, "file")} without a header: nobody says whose they are`
      : null,
    beside > 0 && label.patients.length
      ? `${formatCount(beside, "file")} without a header: ${beside === 1 ? "it goes with the patient of its" : "they go with the patient of their"} folder`
      : null,
  ].filter(Boolean);
}

/** Why there is no label to show; null when there is one. */
function noLabel(label) {
  if (label === undefined) return h("p", { class: "label-none" }, "The label cannot be opened: the vault is locked.");
  return label === null ? h("p", { class: "label-none" }, "No label: nobody says whose images they are.") : null;
}

function headerLine(patient) {
  return patientLine(patient, h("span", { class: "muted" }, formatCount(patient.images, "image")));
}

function typedLine(patient) {
  return patientLine(patient, h("span", { class: "muted" }, "as typed by the sender"));
}

function studiesOf(label, number) {
  const series = (study) => label.series.filter((one) => one.study === study.uid);
  const mine = label.studies.filter((study) => study.patient === number);
  const lines = mine.map((study) => studyLine(study, series(study), label.studies.length === 1));
  return list("studies", lines, STUDIES_SHOWN, ["more study", "more studies"]);
}

/** Everybody that a label names, with their studies. */
function peopleList(label) {
  const lines = label.patients.map((patient, number) => [headerLine(patient), studiesOf(label, number)]);
  if (label.typed) lines.push([typedLine(label.typed)]);
  return list("patients", lines, PATIENTS_SHOWN, ["more patient", "more patients"]);
}

const ONE = { patients: "patient", studies: "study", institutions: "institution" };

/** What a label says beside patients and studies. */
function countsList(label) {
  const left = Object.entries(label.left_out ?? {}).filter(([, count]) => count);
  const lines = [
    ...(label.institutions ?? []).map((name) => ["from ", told(name)]),
    ...countLines(label),
    label.flags?.length ? ["flags: ", told(label.flags.join(", "))] : null,
    left.length ? `not listed here: ${left.map(([what, count]) => formatCount(count, ONE[what] ?? what, what)).join(", ")}` : null,
  ].filter(Boolean);
  return list("counts", lines, lines.length, ["more line", "more lines"]);
}

/**
 * A whole label without its findings.
 * @param {object|null|undefined} label null: none; undefined: it cannot be opened now.
 * @returns {HTMLElement}
 */
export function labelView(label) {
  return (
    noLabel(label) ??
    h(
      "div",
      { class: "label" },
      label.patients.length > 1 ? h("p", { class: "warning" }, `${label.patients.length} patients`) : null,
      people(label).length ? peopleList(label) : nobody(label),
      countsList(label),
    )
  );
}

function markOf(one, allowed) {
  return allowed.includes(one.code) ? "let pass" : (MARKS[one.level] ?? "note");
}

function levelOf(one, allowed) {
  return allowed.includes(one.code) ? "passed" : one.level;
}

function findingLine(one, allowed) {
  const files = one.files ?? [];
  const more = (one.count ?? 0) - Math.min(files.length, FILES_SHOWN);
  const names = files.slice(0, FILES_SHOWN).map((name) => h("li", null, told(name)));
  const rest = more > 0 ? h("li", { class: "muted" }, `and ${more} more`) : null;
  return h(
    "li",
    { class: "finding", data: { level: levelOf(one, allowed), code: one.code } },
    h("strong", null, markOf(one, allowed)),
    ": ",
    told(one.text),
    " ",
    h("code", null, escapeText(one.code)),
    names.length ? h("details", { class: "more" }, h("summary", null, `in ${formatCount(one.count || names.length, "file")}`), h("ul", { class: "files" }, names, rest)) : null,
  );
}

/** The gravest first. */
function byGravity(findings) {
  const order = Object.keys(MARKS);
  return findings.toSorted((one, other) => order.indexOf(one.level) - order.indexOf(other.level));
}

/**
 * Findings, the gravest first, with some of the files of each. What stops a send is never hidden.
 * @param {object[]} findings
 * @param {string[]} [allowed] Codes that were let pass.
 * @returns {HTMLElement|null} null for none.
 */
export function findingsView(findings, allowed = []) {
  if (!findings?.length) return null;
  const sorted = byGravity(findings);
  const grave = sorted.filter((one) => STOPPING.includes(one.level) && !allowed.includes(one.code)).length;
  const lines = sorted.map((one) => findingLine(one, allowed));
  const rest = lines.splice(Math.max(grave, FINDINGS_SHOWN));
  const name = "What was found in the files";
  return h(
    "div",
    { class: "findings-view" },
    h("ul", { class: "findings", "aria-label": name }, lines),
    rest.length ? h("details", { class: "more" }, h("summary", null, `and ${formatCount(rest.length, "more finding")}`), h("ul", { class: "findings", "aria-label": name }, rest)) : null,
  );
}

/** How many findings there are, and the worst of them in words. */
function foundLine({ findings, allowed = [], left_out: left }) {
  if (!findings?.length) return null;
  const sorted = byGravity(findings);
  const worst = sorted.find((one) => STOPPING.includes(one.level) && !allowed.includes(one.code)) ?? sorted[0];
  const count = findings.length + (left?.findings ?? 0);
  return h(
    "p",
    { class: "found-line", data: { level: levelOf(worst, allowed) } },
    `${formatCount(count, "finding")}${count > 1 ? ", the worst" : ""}: `,
    h("strong", null, markOf(worst, allowed)),
    ": ",
    told(worst.text),
  );
}

/** How many patients the headers name. */
function patientCount(label) {
  return label.patients.length + (label.left_out?.patients ?? 0);
}

/** The one person of a label, beside who was typed; of several how many they are, and names. */
function gistLines(label) {
  const count = patientCount(label);
  const named = people(label);
  if (!named.length) return nobody(label);
  if (count <= 1) return [label.patients.map(headerLine), label.typed ? typedLine(label.typed) : null];
  return h(
    "p",
    { class: "several warning" },
    `${formatCount(count, "patient")}: `,
    named.slice(0, NAMED).map((one, number) => [number ? ", " : null, one.name ? told(one.name) : "no name"]),
    count > Math.min(named.length, NAMED) ? " …" : null,
  );
}

/**
 * What must be seen of an offer before anything else: whose it is, and what was found. Short
 * whatever the label holds; `offerView` has the whole of it.
 * @param {object|null|undefined} label
 * @returns {HTMLElement}
 */
export function gistView(label) {
  return noLabel(label) ?? h("div", { class: "gist" }, gistLines(label), foundLine(label));
}

/**
 * What the gist of an offer leaves out: studies, everybody when they are several, findings.
 * @param {object|null|undefined} label
 * @returns {HTMLElement|null}
 */
export function offerView(label) {
  if (!label) return null;
  const whole = h("div", { class: "label" }, patientCount(label) <= 1 ? studiesOf(label, 0) : peopleList(label), countsList(label));
  return h("div", { class: "offer" }, whole, findingsView(label.findings, label.allowed));
}

/**
 * What the look after the seal has found.
 * @param {object|null|undefined} check As `inbox show` has it; none before the look.
 * @returns {HTMLElement|null}
 */
export function checkView(check) {
  if (!check) return null;
  const bad = check.result === "differs" || check.result === "broken";
  const found = check.differences ?? [];
  const more = Math.max(0, found.length - DIFFERENCES_SHOWN) + (check.more ?? 0);
  const lines = found.slice(0, DIFFERENCES_SHOWN).map((one) => h("li", null, told(one.text)));
  if (more) lines.push(h("li", { class: "muted" }, `and ${more} more`));
  const came = check.result === "differs" || check.result === "no-label";
  return h(
    "div",
    { class: "check", data: { result: check.result } },
    h("p", { class: bad ? "warning" : null }, RESULTS[check.result] ?? told(check.result), " ", h("span", { class: "muted" }, `looked at ${formatTime(check.time)}`)),
    lines.length ? h("ul", { class: "differences" }, lines) : null,
    came && check.label ? [h("h4", null, "As the files came"), labelView(check.label)] : null,
  );
}

function nobody(label) {
  return h("p", { class: "label-none" }, label.no_patient_data ? "No patient data, says the sender." : "No patient is named.");
}

/** Everybody that a label names: by headers, or typed. */
function people(label) {
  return label ? [...label.patients, ...(label.typed ? [label.typed] : [])] : [];
}

/**
 * Whose images, for the dialog of a decision: every patient with both identifiers, a few at most.
 * @param {object|null|undefined} label
 * @returns {HTMLElement}
 */
export function whoseView(label) {
  const named = people(label);
  if (!label) return labelView(label);
  if (!named.length) return nobody(label);
  const more = named.length - NAMED + (label.left_out?.patients ?? 0);
  return h(
    "div",
    { class: "whose" },
    named.slice(0, NAMED).map((patient) => patientLine(patient)),
    more > 0 ? h("p", { class: "warning" }, `and ${formatCount(more, "more patient")}`) : null,
  );
}

/**
 * Whose images, and of what, in one or two lines: for a row of a box.
 * @param {object|null|undefined} label
 * @returns {HTMLElement}
 */
export function briefView(label) {
  const named = people(label);
  if (!named.length) return whoseView(label);
  const more = named.length - 1 + (label.left_out?.patients ?? 0);
  const studies = label.studies.slice(0, 2).map((study) => {
    const words = [(study.modalities ?? []).join(", "), date(study.date), study.description].filter(Boolean);
    return words.map((word) => [told(word), " "]);
  });
  const others = label.studies.length - studies.length + (label.left_out?.studies ?? 0);
  return h(
    "div",
    { class: "brief" },
    patientLine(named[0], more > 0 ? h("span", { class: "warning" }, `and ${formatCount(more, "more patient")}`) : null),
    studies.length
      ? h("p", { class: "muted" }, studies.map((words, number) => [number ? "· " : null, words]), others > 0 ? ` and ${formatCount(others, "more study", "more studies")}` : null)
      : null,
  );
}
