/** The daemon's hints name verbs and options of the command line; here they name what the page has. */

/** Names of fields in JSON. */
const FIELDS = { patient_id: "patient ID", patient_name: "name", birth_date: "birth date", study_uid: "study UID", accession: "accession number" };

function inWords(text) {
  return text.replace(/\w+/g, (word) => FIELDS[word] ?? word);
}

/** In this order; what nothing fits stays as it is. */
const WORDS = [
  [/^an expectation needs patient_id, or patient_name and birth_date$/, "an expectation needs the patient ID, or name and birth date"],
  [/^\w+ of the expectation (is|are) /, (start) => inWords(start)],
  [/^(the files are not what is expected|not as expected): [^;]*/, (start) => inWords(start)],
  [/--patient-id, --patient-name and --birth-date, or --no-patient-data/, "say patient ID, name and birth date, or that they hold no patient data"],
  [/--patient-id, --patient-name, --birth-date/, "patient ID, name, birth date"],
  [/--split-by-patient, --exclude; or --allow,/, "split by patient, or leave files out; or let it pass,"],
  [/--allow CODE lets it pass/, "it can be let pass"],
  [/--expect-from FILE(, or --expect-patient ID)?/, "say whose images are expected"],
  [/say --yes if/, "confirm it if"],
  [/the --exclude patterns/, "the patterns of what is left out"],
  [/--purpose \S+/, "choose a purpose"],
  [/--with-label writes it too/, "“Proof with label” holds it too"],
  [/--at ADDR:PORT/, "ADDR:PORT"],
  [/medp2p inbox release \S+ --target (\S+)/, "Release, into $1"],
  [/look at `medp2p inbox show \S+`; a person may release it all the same with --allow \S+/, "“Show” tells what differs; a person may let it pass when releasing it"],
  [/`medp2p inbox show \S+` shows/, "“Show” tells"],
  [/medp2p outbox recall/, "Recall"],
  [/`medp2p outbox cancel` takes/, "Cancel takes"],
  [/(accept it first): medp2p inbox accept \S+/, "$1"],
  [/(until all of it has come): `medp2p inbox`/, "$1"],
  [/(: medp2p|,? *`medp2p) inbox answer \S+ --destroyed`?, or --kept/, ""],
];

/**
 * Return a text of the daemon in words of the page.
 * @param {string|null|undefined} text
 * @returns {string}
 */
export function inPageWords(text) {
  return WORDS.reduce((words, [pattern, instead]) => words.replace(pattern, instead), text ?? "");
}
