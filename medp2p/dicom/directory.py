"""What a DICOMDIR names: files and patients. Nothing it points at is followed.

Source: DICOM PS3.3, annex F (basic directory), PS3.10, section 8.2 (file ids).
"""

from medp2p import limits
from medp2p.dicom import values
from medp2p.dicom.elements import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED, Element, Walk, WalkError
from medp2p.dicom.facts import Directory, Patient
from medp2p.dicom.header import read_patient

_FILE_ID = 0x00041500
_FIELDS = {
    0x00100010: "name",
    0x00100020: "id",
    0x00100021: "issuer",
    0x00100030: "birth_date",
    0x00100040: "sex",
}
_CHARSET = 0x00080005


def read(walk: Walk, sequence: Element, encodings: tuple[str, ...]) -> Directory:
    """Read the directory records, at which the walk stands.

    Raises:
        HeadEndsError: The given bytes end within.
        TruncatedError: The file ends within.
        WalkError: It is no sequence of items, or too long.
    """
    files: list[str] = []
    patients: dict[Patient, None] = {}
    more = 0
    end = walk.size if sequence.length == UNDEFINED else sequence.start + sequence.length
    while walk.offset < end:
        item = walk.next(implicit=True)
        if item is None or item.tag == SEQUENCE_END:
            break
        if item.tag != ITEM:
            raise WalkError("damaged")
        file_id, patient = _record(walk, item, encodings)
        if patient is not None and len(patients) < limits.DICOM_DIRECTORY_PATIENTS:
            patients[patient] = None
        if file_id and len(files) < limits.DICOM_REFERENCES:
            files.append(file_id)
        elif file_id:
            more += 1
    return Directory(files=tuple(files), more=more, patients=tuple(patients))


def _record(walk: Walk, item: Element, encodings: tuple[str, ...]) -> tuple[str, Patient | None]:
    end = walk.size if item.length == UNDEFINED else item.start + item.length
    raw: dict[str, bytes] = {}
    file_id = ""
    while walk.offset < end:
        element = walk.next()
        if element is None or element.tag == ITEM_END:
            break
        known = element.length != UNDEFINED
        if known and element.tag == _FILE_ID:
            file_id = "/".join(values.texts(walk.value(element), encodings))
        elif known and element.tag == _CHARSET:
            encodings = values.encodings_of(walk.value(element))
        elif known and element.tag in _FIELDS:
            raw[_FIELDS[element.tag]] = walk.value(element)
        else:
            walk.skip(element)
    patient = read_patient(raw, encodings)
    return file_id, None if patient.anonymous else patient
