"""What is read from one file: frozen values, and their form as bytes.

All text in them is harmless already (``text.escape_text``) and bounded. What files of a study
share (patient, study, series) is a value of its own, so that 100,000 files of ten patients keep
ten patients in memory.
"""

from collections.abc import Hashable
from typing import Literal, TypeVar

import msgspec

Kind = Literal["dicom", "dicomdir", "other", "unverified"]

#: Why a file is unverified.
REASONS = {
    "damaged": "its header is damaged",
    "deep": "its header is nested too deep",
    "deflated": "its deflated header ends early or grows too large",
    "incomplete": "its header does not say which study and image it is",
    "short": "it ends within its header",
    "repeated": "its header names the patient or image twice, differently",
    "long": "its header is too long",
    "no-header": "it looks like DICOM, without a readable header",
    "reader": "reading its header failed or took too long",
}

_Shared = TypeVar("_Shared", bound=Hashable)


class Patient(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose images they are, as the file says it.

    Attributes:
        id: (0010,0020) without padding; several values stay joined by a backslash.
        issuer: (0010,0021).
        name: (0010,0010), decoded by the declared character set, all groups.
        birth_date: (0010,0030) as it stands.
        sex: (0010,0040).
        raw_id: The bytes of the id, escaped, if its text looks odd; otherwise "".
        raw_name: The same of the name: undecodable, too many groups, markup.
    """

    id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    raw_id: str = ""
    raw_name: str = ""

    @property
    def anonymous(self) -> bool:
        """Return whether nothing in it points at a person."""
        return not (self.id or self.name or self.birth_date)


class Study(msgspec.Struct, frozen=True, omit_defaults=True):
    """The study: (0020,000D), (0008,0020), (0008,0030), (0008,1030) and (0008,0050)."""

    uid: str = ""
    date: str = ""
    time: str = ""
    description: str = ""
    accessions: tuple[str, ...] = ()


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """The series: (0020,000E), (0020,0011), (0008,0060) and (0008,103E)."""

    uid: str = ""
    number: str = ""
    modality: str = ""
    description: str = ""


class Slice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an image lies in its stack; only images with place and orientation have one.

    Attributes:
        position: (0020,0032), mm.
        orientation: (0020,0037), six direction cosines.
        stack: Echo, temporal position, acquisition and image type: what else must be equal for
            two images to be neighbours.
    """

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    stack: tuple[str, ...] = ()


class Directory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a DICOMDIR promises.

    Attributes:
        files: Referenced file ids, parts joined by "/"; limits.DICOM_REFERENCES at most.
        more: How many more there are.
        patients: The patients it names.
    """

    files: tuple[str, ...] = ()
    more: int = 0
    patients: tuple[Patient, ...] = ()


class FileFacts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All that inspection says about one file.

    Attributes:
        kind: "dicom"; "dicomdir"; "other" (no DICOM header); or "unverified": it seems to be
            DICOM, but what it says cannot be relied on.
        reason: Why it is unverified, a key of ``REASONS``; "" otherwise.
        patient: None if the file names none. An unverified file keeps what was read.
        study: None if there is no study UID.
        series: None if there is no series UID.
        sop_class: UID.
        sop_instance: UID.
        transfer_syntax: UID; "" for a data set without header.
        number: (0020,0013) InstanceNumber as text; proves nothing.
        institution: (0008,0080).
        slice: Place in a stack.
        rows: Pixel rows, 0 if there are none.
        columns: Pixel columns.
        frames: Frames of a multi-frame image, 0 if not told.
        burned_in: (0028,0301): "YES", "NO" or "".
        visual_features: (0028,0302): a face may be recognised.
        identity_removed: (0012,0062).
        encapsulated: A document (PDF, CDA, model) is inside.
        concatenation: UID and number of parts of an image in several files; ("", 0) if none.
        truncated: The file is shorter than it says; None if that could not be told.
        preamble: "zero", "tiff", "executable", "script", "other"; "none" without header.
        content: What a file without header begins with: "executable", "script", "archive",
            "image", "pdf", "text", "empty" or "".
        directory: Of a DICOMDIR.
        wanted_bytes: So many bytes from the file's beginning would tell more; 0 if no more are
            wanted. Larger than what was given, within limits.DICOM_MAX_HEAD_BYTES.
    """

    kind: Kind
    reason: str = ""
    patient: Patient | None = None
    study: Study | None = None
    series: Series | None = None
    sop_class: str = ""
    sop_instance: str = ""
    transfer_syntax: str = ""
    number: str = ""
    institution: str = ""
    slice: Slice | None = None
    rows: int = 0
    columns: int = 0
    frames: int = 0
    burned_in: str = ""
    visual_features: str = ""
    identity_removed: str = ""
    encapsulated: bool = False
    concatenation: tuple[str, int] = ("", 0)
    truncated: bool | None = False
    preamble: str = "none"
    content: str = ""
    directory: Directory | None = None
    wanted_bytes: int = 0


class Pool:
    """Equal patients, studies, series and strings become one object each."""

    def __init__(self) -> None:
        self._known: dict[object, object] = {}

    def facts(self, facts: FileFacts) -> FileFacts:
        """Return equal facts that share what other files have too."""
        return msgspec.structs.replace(
            facts,
            patient=self._shared(facts.patient),
            study=self._shared(facts.study),
            series=self._shared(facts.series),
            sop_class=self._shared(facts.sop_class),
            transfer_syntax=self._shared(facts.transfer_syntax),
            institution=self._shared(facts.institution),
        )

    def _shared(self, value: _Shared) -> _Shared:
        known = self._known.setdefault(value, value)
        return known if isinstance(known, type(value)) else value


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FileFacts)


def encode_facts(facts: FileFacts) -> bytes:
    """Return facts as bytes (msgpack), for a cache and for the child's answer."""
    return _ENCODER.encode(facts)


def decode_facts(data: bytes) -> FileFacts:
    """Read facts again.

    Raises:
        ValueError: The bytes are no facts of this version.
    """
    return _DECODER.decode(data)
