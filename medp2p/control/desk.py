"""What the API asks of the daemon: one method for each thing that a person can see or do.

Values are plain JSON: dict, list, str, int, bool, None. Times are RFC 3339 UTC text. Names and
paths are as medp2p.text.path_text writes them, with the raw bytes beside them as ``..._b64``.
Every method may raise MedP2PError; the API passes code, text and hint on.
"""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from medp2p.model import Actor, AuditEvent

#: An object of the answers below.
Json = dict[str, Any]


class Desk(Protocol):
    """The daemon as the API sees it.

    ``actor`` comes first in each method that changes something, for the audit log.
    """

    async def status(self) -> Json:
        """Return what runs.

        Keys: ``version, name, peer_id, sign_key, pid, home, since, listen`` (list of
        "addr:port"), ``accepting`` (bool: the listener takes connections), ``mdns`` (``{on,
        text}``), ``vault`` (``{locked, key_in_clear, free_bytes}``), ``peers`` (list of ``{name,
        settings, auto, online, since, away}``), ``transfers`` (those under way), ``held`` (those
        that are); counts: ``undecided, destroy_asked, expiring, released`` (``{folders, old}``),
        ``alarms`` (open ones), ``bugs`` (since start).
        """
        ...

    async def identity(self) -> Json:
        """Return ``{peer_id, name, department, place, key_words, vault_recipient, qr}``.

        ``qr`` is the peer ID as a QR code: ``size`` (modules of an edge) and ``path`` (SVG path
        data of the dark ones).
        """
        ...

    async def config(self) -> list[Json]:
        """Return ``{key, value, source}`` for each setting, in the order of the file."""
        ...

    async def overview(self, limit: int) -> Json:
        """Return what stands on the page at first sight, quickly, however much there is.

        Keys: ``status, identity, peers, nearby, waiting, active, inbox, outbox, released, alarms,
        audit, targets, pairing, totals``: docs/CLI.md, "The API".

        Args:
            limit: So many of each box.
        """
        ...

    async def search(self, query: dict[str, str]) -> Json:
        """Return ``{transfers, next}`` for docs/CLI.md, "The API": ``direction, peer, state, ...``.

        Raises:
            UsageError: A value cannot be understood.
            VaultLockedError: A patient is looked for while the vault is locked.
        """
        ...

    async def folders(self, path: bytes | None) -> Json:
        """Return ``{path, path_b64, parent_b64, entries, more}`` of a folder; None: the home."""
        ...

    def page_rules(self) -> Json:
        """Return ``{run, idle_seconds}``: random text of this start, and when sessions end."""
        ...

    async def note_page(self, actor: Actor, event: AuditEvent, outcome: str, detail: Json) -> None:
        """Put "page-opened", "page-ended" or "page-refused" into the audit log."""
        ...

    async def reload(self, actor: Actor) -> list[Json]:
        """Read config.toml again; return what ``config`` returns.

        Raises:
            ConfigError: The file is wrong; the old values hold.
        """
        ...

    async def nearby(self) -> list[Json]:
        """Return who mDNS shows.

        Keys: ``name`` (told), ``fingerprint, addresses`` ("addr:port"), ``peer`` (our name for
        it, null when not paired), ``pairing`` (number of an open pairing or null).
        """
        ...

    async def peers(self) -> list[Json]:
        """Return all peers as ``peer`` does, by name."""
        ...

    async def peer(self, name: str) -> Json:
        """Return one peer.

        Keys: ``name, peer_id, fingerprint, key_words, sign_key`` (null before it was heard),
        ``source`` ("code" or "hand"), ``created, verified`` (time or null), ``verified_by,
        told_name, told_department, told_place, software, addresses, settings`` (dict of text),
        ``online`` (bool), ``since, away`` (why it is), ``last_seen, route``.

        Raises:
            UnknownPeerError: Nobody of that name is paired.
        """
        ...

    async def add_peer(self, actor: Actor, name: str, peer_id: str, addresses: list[str]) -> Json:
        """Pin a key by hand; return the peer."""
        ...

    async def set_peer(self, actor: Actor, name: str, settings: dict[str, str]) -> Json:
        """Change settings, all or none; an empty value goes back to the default."""
        ...

    async def verify_peer(self, actor: Actor, name: str) -> Json:
        """Record that a person compared the key words; return the peer."""
        ...

    async def remove_peer(self, actor: Actor, name: str) -> Json:
        """Take the pin away; return the peer as it was."""
        ...

    async def pairing_open(self, actor: Actor) -> Json:
        """Open pairing for a while, or show what is open; return as ``pairing_state``."""
        ...

    async def pairing_state(self) -> Json:
        """Return the pairing that is open or was open last.

        Keys: ``state`` ("open", "paired" or "closed"), ``code`` (whole code while open; another
        one after a wrong guess), ``number, expires, guesses_left, peer`` (our name for the new
        peer once paired), ``text`` (why it is closed).
        """
        ...

    async def pairing_close(self, actor: Actor) -> Json:
        """Close an open pairing; nothing happens when none is. Returns ``pairing_state``."""
        ...

    async def pairing_join(self, actor: Actor, code: str, at: str | None) -> Json:
        """Join the pairing that a code belongs to; return the new peer as ``peer`` does.

        Args:
            actor: Who asks.
            code: "NUMBER-word-word".
            at: "addr:port" of the other side, or None to look in mDNS.
        """
        ...

    async def scan(
        self, actor: Actor, peer: str, paths: list[bytes], wishes: Json | None = None
    ) -> Json:
        """Start to walk sources for a transfer to a peer.

        Args:
            actor: Who asks.
            peer: Refused at once when unknown.
            paths: Absolute, but not normalised: "." and ".." and links are the walk's to judge.
            wishes: docs/CLI.md, "The API": ``exclude, split, typed, no_patient_data, allow``.

        Returns:
            As ``scan_state``.
        """
        ...

    async def scan_state(self, scan: str, wait: bool) -> Json:
        """Return how far a scan is.

        Keys: ``scan`` (id), ``peer, state`` ("scanning", "done" or "failed"), ``files, bytes,
        inspected`` (files whose headers were read), ``entries`` (count, once it is known),
        ``skipped`` (list of ``{path, path_b64, why}``), ``error`` (null or error object), and
        ``parts``, once it is done: what becomes
        one transfer each, ``{part, files, bytes, skipped, wants, asked, purpose_wanted, masked,
        stops, findings, label}``. ``wants`` is "typed", "expect", "label" or "yes"; ``asked``
        are the patients of whom something must be typed, in that order.

        Args:
            scan: Its id.
            wait: Answer only after a change, at most SCAN_POLL_SECONDS later.
        """
        ...

    async def check(self, actor: Actor, scan: str, part: int, confirmation: Json) -> Json:
        """Return ``{confirmed: true}`` if ``send`` would take this confirmation now.

        Raises:
            CheckRefusedError: As ``send``; audited.
        """
        ...

    async def reveal(self, actor: Actor, scan: str, part: int) -> Json:
        """Return the label of a part with nothing masked; audited."""
        ...

    async def send(
        self,
        actor: Actor,
        scan: str,
        peer: str,
        note: str,
        priority: str,
        part: int = 0,
        confirmation: Json | None = None,
    ) -> Json:
        """Queue a transfer durably from a part of a finished scan; return it.

        Args:
            actor: Who asks.
            scan: Its id.
            peer: For whom the scan was made.
            note: Told to the receiver.
            priority: "stat" or "routine".
            part: Number of the part.
            confirmation: docs/CLI.md, "The API": ``answers, expect, yes, purpose``.

        Raises:
            CheckRefusedError: A finding stops it, or it is not confirmed as the peer wants it.
        """
        ...

    async def transfers(self, direction: str) -> list[Json]:
        """Return the transfers of a direction ("out" or "in"), newest first."""
        ...

    async def transfer(self, direction: str | None, transfer: str, entries: bool) -> Json:
        """Return one transfer.

        Keys: ``id, direction, peer, state, reason`` and ``held`` (null or ``{code, text,
        since}``), ``entries, files, skipped`` (counts), ``bytes, bytes_done, rate`` (bytes a
        second) and ``wire_bytes`` (null where nothing moves), ``root, created, decided, sealed,
        checked, opened, previewed, released, expires, finished`` (times or null), ``error`` (null
        or error object), ``priority, addendum_of`` (id or null), ``addenda`` (ids). What its
        papers say, absent while the vault is locked: ``label, note, recall`` (``{reason}``),
        ``releases`` (folders) and ``released_to`` (the last one). Here also ``facts`` (list of
        ``{fact, number, time, by, acknowledged, detail}``), ``check`` (what the files say, or
        null), and with ``entries`` the lists ``entry_list`` of ``{path, path_b64, kind, bytes,
        mtime}`` and ``skipped_entries`` of ``{path, path_b64, why}``.

        Args:
            direction: "out", "in", or None for both.
            transfer: Id or any unique prefix of it.
            entries: Whether the manifest is wanted.
        """
        ...

    async def cancel(self, actor: Actor, transfer: str) -> Json:
        """End a transfer of the outbox that has not been sealed; return it."""
        ...

    async def recall(self, actor: Actor, transfer: str, reason: str) -> Json:
        """Take a transfer of the outbox back; return it.

        Cancelled if it was not accepted yet, else ``recalling`` until the receiver answers.
        """
        ...

    async def answer(self, actor: Actor, transfer: str, destroyed: bool, by: str) -> Json:
        """Answer the request to destroy what was released of a transfer; return it.

        Args:
            actor: Who asks.
            transfer: Id or prefix, in the inbox.
            destroyed: Whether it is destroyed; else it is kept.
            by: Who says so; "" for the actor.
        """
        ...

    async def proof(self, transfer: str, label: bool) -> Json:
        """Return the signed facts of a transfer: docs/PROTOCOL.md, "Proofs".

        Args:
            transfer: Id or prefix, of either box.
            label: Put label and note in: patient data.
        """
        ...

    async def accept(self, actor: Actor, transfer: str, release_to: str | None = None) -> Json:
        """Take an offer of the inbox; return it.

        Args:
            actor: Who decides.
            transfer: Id or prefix.
            release_to: Name of a target: released there once it is sealed, if label and content
                agree; else it is held.
        """
        ...

    async def decline(self, actor: Actor, transfer: str, reason: str) -> Json:
        """Refuse an offer of the inbox; return it."""
        ...

    async def release(self, actor: Actor, transfer: str, order: Json) -> Json:
        """Unpack a sealed transfer below a folder.

        Args:
            actor: Who asks.
            transfer: Id or prefix, in the inbox.
            order: ``to`` (absolute path as bytes; made when missing) or ``target`` (a name);
                ``allow`` (codes of holds that may pass), ``expect`` (fields of an expectation),
                ``for_seconds`` (after which unchanged files are removed).

        Returns:
            The transfer, with ``released_to`` (text) and ``released_to_b64`` of this release.
        """
        ...

    async def verify(self, actor: Actor, transfer: str) -> Json:
        """Read and authenticate a sealed transfer; return it.

        Raises:
            SealBrokenError: It is not whole.
        """
        ...

    async def previews(self, actor: Actor, transfer: str, series: list[str] | None = None) -> Json:
        """Return a small picture of each series of a sealed transfer; stated and audited.

        Args:
            actor: Who looks.
            transfer: Id or prefix, in the inbox.
            series: UIDs of those that are wanted; None for all.

        Returns:
            ``previews``: list of ``{series, description, modality, images, shown, width, height,
            png_b64, why, by_itself}``; ``png_b64`` and ``shown`` (number of the image) are null
            where there is no picture, and ``why`` says why; ``by_itself``: there is one if it is
            asked for alone; ``marked``: words that belong beside them.
        """
        ...

    async def discard(self, actor: Actor, transfer: str) -> Json:
        """Erase a transfer of the inbox, and wait for that; return it."""
        ...

    async def released(self) -> list[Json]:
        """Return every folder released, the newest first.

        Keys: ``release`` (number), ``transfer, peer, state`` ("there", "kept", "removed", "gone"),
        ``released, by, files, age_seconds, old, until, over, folder`` (null: vault locked).
        """
        ...

    async def targets(self) -> list[Json]:
        """Return the named targets: ``name, target, created, created_by``."""
        ...

    async def add_target(self, actor: Actor, name: str, target: str) -> Json:
        """Give a place ("folder:DIR") a name; return it."""
        ...

    async def remove_target(self, actor: Actor, name: str) -> Json:
        """Take the name of a target away; return it as it was."""
        ...

    async def audit(self, limit: int, after: int) -> list[Json]:
        """Return audit records with a greater number than ``after``, ascending, at most limit.

        With ``after`` -1 the newest ones, ascending too. Keys: ``seq, time, event, actor``
        (``{os_user, operator, via}``), ``peer, peer_id, transfer, outcome, detail, hash, label``
        (the patient facts or null; absent while the vault is locked). Of a record that is
        damaged: ``seq, hash, record_b64, damaged``.
        """
        ...

    async def audit_verify(self) -> Json:
        """Follow the whole chain; return ``{count, head, ok, broken_at, text, erased}``."""
        ...

    async def alarms(self) -> list[Json]:
        """Return ``{id, time, kind, peer, text, count, acknowledged}``, newest first."""
        ...

    async def acknowledge(self, actor: Actor, alarm: int) -> Json:
        """Record that a person has seen an alarm; return it."""
        ...

    def count_bug(self) -> None:
        """Count a mistake of the program that a request has met: ``bugs`` of ``status``."""

    async def doctor(self) -> list[Json]:
        """Return ``{check, ok, text, hint}``; ok is true, false, or null where unknown."""
        ...

    def events(self, *, page: bool = False) -> AsyncGenerator[list[Json], None]:
        """Yield what changes, in batches; called without await, closed by the caller.

        The first one is ``status``, at once: from then on nothing newer is missed, but a slow
        reader sees the newest state of a thing only. Kinds: docs/CLI.md, "The API"; their values
        are what the methods above return. Nobody changes an event: all readers get the same.

        Args:
            page: Seldom enough for people; the status, in numbers, again now and then.
        """
        ...
