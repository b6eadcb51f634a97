"""The elements that a label needs, as they are met on a walk, and the facts made of them.

Source: DICOM PS3.6 (tags); PS3.3, C.7 (patient, study, series, image), C.10.1, C.12.1.
"""

from typing import cast

from medp2p import limits
from medp2p.dicom import values
from medp2p.dicom.elements import UNDEFINED, Element, WalkError
from medp2p.dicom.facts import Directory, FileFacts, Patient, Series, Slice, Study

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_INTEGER_PIXELS = 0x7FE00010
_STUDY = 0x0020000D
_META = {0x00020002: "sop_class", 0x00020003: "sop_instance", 0x00020010: "syntax"}
_DATASET = {
    0x00080005: "charset",
    0x00080008: "image_type",
    0x00080016: "sop_class",
    0x00080018: "sop_instance",
    0x00080020: "study_date",
    0x00080030: "study_time",
    0x00080050: "accession",
    0x00080060: "modality",
    0x00080080: "institution",
    0x00081030: "study_description",
    0x0008103E: "series_description",
    0x00100010: "name",
    0x00100020: "id",
    0x00100021: "issuer",
    0x00100030: "birth_date",
    0x00100040: "sex",
    0x00120062: "identity_removed",
    0x00180086: "echo",
    0x0020000D: "study",
    0x0020000E: "series",
    0x00200011: "series_number",
    0x00200012: "acquisition",
    0x00200013: "number",
    0x00200032: "position",
    0x00200037: "orientation",
    0x00200100: "temporal",
    0x00209161: "concatenation",
    0x00209163: "parts",
    0x00280002: "samples",
    0x00280004: "photometric",
    0x00280008: "frames",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280100: "bits",
    0x00280301: "burned_in",
    0x00280302: "visual_features",
    0x00287FE0: "pixel_url",
    0x00420011: "document",
}
#: Whoever meets one of these twice cannot say which is meant; readers differ.
_ONCE = frozenset({"sop_instance", "name", "id", "issuer", "birth_date", "study", "series"})
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
#: PS3.4, annex GG: hanging protocols, palettes and implants belong to no patient; all else has a
#: study (PS3.3, C.7.2.1: type 1).
_NON_PATIENT = tuple(f"1.2.840.10008.5.1.4.{number}." for number in (38, 39, 43, 44, 45))
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
#: PS3.5, 7.5: ends a sequence, and compressed pixels; both byte orders.
_DELIMITERS = (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")


class Header:
    """What was met so far.

    Attributes:
        truncated: As in FileFacts.
        in_sequence: The walk is within something without a length.
        wanted_bytes: As in FileFacts.
    """

    WANTED = frozenset(_DATASET)
    WANTED_META = frozenset(_META)

    def __init__(self) -> None:
        self._raw: dict[str, bytes] = {}
        self._from_dataset: set[str] = set()
        self.big = False
        self.compressed = False
        self.truncated: bool | None = False
        self.in_sequence = False
        self.wanted_bytes = 0
        self.directory: Directory | None = None
        self.encodings = values.encodings_of(b"")

    def keep(self, tag: int, raw: bytes) -> None:
        """Remember a value.

        Raises:
            WalkError: It tells whose images they are, and stands there twice and differently.
        """
        field = _META.get(tag)
        if field is None:
            field = _DATASET[tag]
            repeated = field in self._from_dataset and field in _ONCE
            if repeated and self._raw[field] != raw:
                raise WalkError("repeated")
            self._from_dataset.add(field)
            if field == "charset":
                self.encodings = values.encodings_of(raw)
        self._raw[field] = raw

    def uid(self, field: str) -> str:
        """Return a UID, "" if it was not met."""
        return values.uid(self._raw.get(field, b""))

    def pixels(self, element: Element, size: int, tail: bytes) -> None:
        """Look whether the pixels, at which the walk stands, are all there."""
        if element.length == UNDEFINED:
            found = any(mark in tail[-limits.DICOM_TAIL_BYTES :] for mark in _DELIMITERS)
            self.truncated = None if not tail else not found
            return
        short = element.tag == _INTEGER_PIXELS and element.length < self._expected_bytes()
        self.truncated = short or element.start + element.length > size

    def end(self, reached: int) -> None:
        """Take note that the data set ended, between two elements and without pixels.

        A file that was cut there looks whole. Without a study it is none (but for what belongs
        to no patient); an image without pixels may be one that was stripped on purpose.
        """
        sop_class = self.uid("sop_class")
        if reached < _STUDY and not sop_class.startswith(_NON_PATIENT):
            self.truncated = True
        elif self._short("rows") > 0 or values.is_image_class(sop_class):
            self.truncated = False if "pixel_url" in self._raw else None

    def facts(self, reason: str, *, preamble: str) -> FileFacts:
        """Return what was met.

        Args:
            reason: Why it cannot be relied on, "" if it can.
            preamble: As in FileFacts.
        """
        sop_class, sop_instance = self.uid("sop_class"), self.uid("sop_instance")
        if self.directory is not None or sop_class == _DIRECTORY_CLASS:
            return self._directory_facts(reason, preamble)
        patient, study = self._patient(), self._study()
        without_study = sop_class.startswith(_NON_PATIENT) and patient is None
        if not reason and not (sop_class and sop_instance and (study or without_study)):
            # Also what is left of a file that was cut between two elements.
            reason = "incomplete"
        return FileFacts(
            kind="unverified" if reason else "dicom",
            reason=reason,
            patient=patient,
            study=study,
            series=self._series(),
            sop_class=sop_class,
            sop_instance=sop_instance,
            transfer_syntax=self.uid("syntax"),
            number=self._text("number"),
            institution=self._text("institution"),
            slice=self._slice(),
            rows=self._short("rows"),
            columns=self._short("columns"),
            frames=self._integer("frames"),
            burned_in=self._text("burned_in").upper(),
            visual_features=self._text("visual_features").upper(),
            identity_removed=self._text("identity_removed").upper(),
            encapsulated="document" in self._raw or sop_class.startswith(_ENCAPSULATED),
            concatenation=(self.uid("concatenation"), self._short("parts")),
            truncated=self.truncated,
            preamble=preamble,
            wanted_bytes=self.wanted_bytes,
        )

    def _directory_facts(self, reason: str, preamble: str) -> FileFacts:
        return FileFacts(
            kind="unverified" if reason else "dicomdir",
            reason=reason,
            sop_class=_DIRECTORY_CLASS,
            transfer_syntax=self.uid("syntax"),
            truncated=self.truncated,
            preamble=preamble,
            directory=self.directory or Directory(),
            wanted_bytes=self.wanted_bytes,
        )

    def _patient(self) -> Patient | None:
        patient = read_patient(self._raw, self.encodings)
        return None if patient == Patient() else patient

    def _study(self) -> Study | None:
        uid = self.uid("study")
        if not uid:
            return None
        return Study(
            uid=uid,
            date=self._text("study_date"),
            time=self._text("study_time"),
            description=self._text("study_description"),
            accessions=values.texts(self._raw.get("accession", b""), self.encodings),
        )

    def _series(self) -> Series | None:
        uid = self.uid("series")
        if not uid:
            return None
        return Series(
            uid=uid,
            number=self._text("series_number"),
            modality=self._text("modality"),
            description=self._text("series_description"),
        )

    def _slice(self) -> Slice | None:
        position = values.numbers(self._raw.get("position", b""), 3)
        orientation = values.numbers(self._raw.get("orientation", b""), 6)
        if position is None or orientation is None:
            return None
        stack = [self._text(field) for field in ("echo", "temporal", "acquisition", "image_type")]
        return Slice(
            position=cast("tuple[float, float, float]", position),
            orientation=cast("tuple[float, float, float, float, float, float]", orientation),
            stack=tuple(stack),
        )

    def _expected_bytes(self) -> int:
        """How long the pixels must be by rows, columns and bits; 0 if that says nothing."""
        if self.compressed or self._text("photometric").endswith(("_422", "_420")):
            return 0
        samples = max(1, self._short("samples"))
        frames = max(1, self._integer("frames"))
        pixels = self._short("rows") * self._short("columns") * samples * frames
        return pixels * self._short("bits") // 8

    def _text(self, field: str) -> str:
        return values.text(self._raw.get(field, b""), self.encodings)

    def _short(self, field: str) -> int:
        return values.short(self._raw.get(field, b""), big=self.big)

    def _integer(self, field: str) -> int:
        return values.integer(self._raw.get(field, b""))


def read_patient(raw: dict[str, bytes], encodings: tuple[str, ...]) -> Patient:
    """Return the patient that values called id, issuer, name, birth_date and sex describe."""
    patient_id, raw_id = values.identifier(raw.get("id", b""), encodings)
    name, raw_name = values.name(raw.get("name", b""), encodings)
    return Patient(
        id=patient_id,
        issuer=values.text(raw.get("issuer", b""), encodings),
        name=name,
        birth_date=values.text(raw.get("birth_date", b""), encodings),
        sex=values.text(raw.get("sex", b""), encodings),
        raw_id=raw_id,
        raw_name=raw_name,
    )
