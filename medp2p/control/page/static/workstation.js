/** This workstation: name, peer ID with QR code, key words, version, vault, disk, addresses. */

import { h, setChildren, time, told } from "./dom.js";
import { escapeText, formatBytes, formatCount } from "./format.js";
import { qrCode } from "./qr.js";

/** Less than this free is worth a warning, bytes: one large study, or a few slides. */
const LITTLE_ROOM = 20e9;

const row = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));

function identityRows(identity) {
  const place = [identity.department, identity.place].filter(Boolean);
  return [
    row("Name", told(identity.name, { class: "strong" })),
    place.length ? row("Place", ...place.flatMap((text, index) => [index ? ", " : "", told(text)])) : null,
    row("Key words", told(identity.key_words, { class: "key-words" })),
    row("Peer ID", h("code", { class: "peer-id" }, escapeText(identity.peer_id))),
  ];
}

function statusRows(status) {
  const listen = status.listen.flatMap((address) => [h("code", null, escapeText(address)), " "]);
  return [
    row("Listens on", ...(listen.length ? listen : ["nothing"]), status.accepting ? "" : h("strong", { class: "bad" }, "takes no connections")),
    row("Discovery", status.mdns.on === false ? "off: " : "", told(status.mdns.text)),
    row("Free on disk", formatBytes(status.vault.free_bytes), status.vault.free_bytes < LITTLE_ROOM ? h("strong", { class: "bad" }, " little room for new transfers") : ""),
    row("In clear", releasedText(status.released)),
    row("Running", "since ", time(status.since)),
    row("Version", `medp2p ${escapeText(status.version)}`),
  ];
}

/** How many folders with clear images there are. */
function releasedText(released) {
  const count = released?.folders ?? 0;
  if (!count) return "no released folder";
  const old = released.old ? `, ${released.old} older than they should be` : "";
  return `${formatCount(count, "released folder")}${old}`;
}

/** What the state of the vault key means, in plain words. */
function vaultNotice(vault) {
  if (vault.locked) return h("p", { class: "notice" }, h("strong", null, "The vault is locked. "), "What arrives is sealed; nothing in it can be shown or opened here.");
  if (!vault.key_in_clear) return null;
  return h(
    "p",
    { class: "notice warn" },
    h("strong", null, "The vault key lies in clear on this disk. "),
    "Whoever gets this disk can open what is in the vault: sealing protects copies and backups of it, not the disk itself. Use full-disk encryption.",
  );
}

/**
 * Fill the region.
 * @param {HTMLElement} section
 * @param {Store} store
 */
export function mount(section, store) {
  const notice = h("div");
  const code = h("figure", { class: "qr-figure" });
  const facts = h("dl", { class: "facts" });
  section.append(notice, h("div", { class: "workstation" }, facts, code));
  const show = () => {
    const identity = store.get("identity");
    const status = store.get("status");
    if (!identity || !status) return;
    setChildren(notice, vaultNotice(status.vault), status.bugs ? h("p", { class: "notice warn" }, `${formatCount(status.bugs, "unexpected error")} since the start; medp2p doctor says more.`) : null);
    setChildren(facts, ...identityRows(identity), ...statusRows(status));
    const picture = qrCode(identity.qr, "QR code of the peer ID");
    setChildren(code, picture, picture && h("figcaption", { class: "hint" }, "Peer ID as QR code"));
  };
  store.subscribe("identity", show);
  store.subscribe("status", show);
}
