"""The bounds of what is read from files, and of labels: a part of ``limits``."""

from medp2p.limits.units import KIB, MIB

# --- DICOM headers and labels ---------------------------------------------------------------

#: Bytes read of each file at first: the whole header of most slices, and 2,000 of them are only
#: 32 MB between two processes.
DICOM_HEAD_BYTES = 16 * KIB
#: Bytes read of a file at most, when its header asks for more: private vendor elements of some
#: MiB, and a DICOMDIR of 30,000 images.
DICOM_MAX_HEAD_BYTES = 16 * MIB
#: Last bytes of a file, where compressed pixels must end with their delimiter; some padding or
#: a signature may follow.
DICOM_TAIL_BYTES = 4 * KIB
#: A deflated data set is inflated to this at most, whatever it would grow to.
DICOM_INFLATED_BYTES = 16 * MIB
#: Elements walked in one file: a DICOMDIR of 30,000 images has 450,000 (half a second).
DICOM_ELEMENTS = 500_000
#: Nested sequences and items; real objects have a dozen.
DICOM_DEPTH = 64
#: One value that is shown; the standard allows 64 characters to most, a name has 3 x 64.
DICOM_VALUE_BYTES = 4 * KIB
DICOM_VALUE_CHARS = 256
#: Values of one element that are kept (image type, accession numbers).
DICOM_VALUES = 16
#: Files that a DICOMDIR promises, and patients that it names, as far as they are kept.
DICOM_REFERENCES = 50_000
DICOM_DIRECTORY_PATIENTS = 64
#: Ways of writing a patient that are compared with each other (30 us each time): those of one id,
#: or without any and of one birth date; and pairs of two lists of persons.
MAX_FORMS_COMPARED = 64
MAX_PERSONS_COMPARED = 4096
#: The child that reads headers: its address space (Python and pydicom take 32 MiB), CPU time and
#: elapsed time for one file, and the time until its first answer on a busy machine.
DICOM_CHILD_BYTES = 512 * MIB
DICOM_CPU_SECONDS = 5
DICOM_FILE_SECONDS = 10.0
DICOM_START_SECONDS = 30.0
#: Children in a row that fail without one answer between; then the rest stays unverified.
DICOM_CHILD_FAILURES = 8
#: One question to the child: head and tail; one answer: the facts with DICOM_REFERENCES names.
DICOM_QUESTION_BYTES = DICOM_MAX_HEAD_BYTES + 64 * KIB
DICOM_ANSWER_BYTES = 16 * MIB
#: Children that read headers: two cores are what a workstation has to spare.
DICOM_CHILDREN = 2
#: A child of the receiver stays for the next study so long (32 MB); to start one takes 0.1 s.
DICOM_IDLE_SECONDS = 300.0
#: Files that one of them is asked about at a time: some MB, and a few words of progress a second.
DICOM_BATCH_FILES = 128
#: Files whose facts are kept in memory, for the next send of the same folder: some 50 MB.
DICOM_KNOWN_FILES = 50_000
#: What was read of a file is good while its identity and so many first bytes are the same.
DICOM_KEY_BYTES = 1024
#: A file written to within the first time is looked at again after the second: whoever copies or
#: records writes several times a second. What escapes that fails the transfer, never mixes.
GROWING_RECENT_SECONDS = 2.0
GROWING_LOOK_SECONDS = 0.5
#: The receiver's look at what was sealed, as a whole: so long, and so much more for each file
#: (2 ms on one core); what is left then stays unread, which differs from what was promised.
CHECK_SECONDS = 300.0
CHECK_FILE_SECONDS = 0.05
#: A look that was not possible is tried again after so long.
CHECK_AGAIN_SECONDS = 600.0
#: Differences from a promised label that are kept; the rest is a count.
CHECK_DIFFERENCES = 100
#: Files named in one finding; the rest is a count.
FINDING_FILES = 5
FINDING_CHARS = 600
#: Findings of one kind; a thousand truncated files are one finding, a thousand series with gaps
#: are not.
FINDINGS_PER_CODE = 20
#: Lines of a label, before its bytes are counted.
LABEL_PATIENTS = 200
LABEL_STUDIES = 100
LABEL_SERIES = 400
LABEL_INSTITUTIONS = 10
LABEL_FINDINGS = 200
#: A gap between slices, in medians of the distance (a doubled step is 2), and from how many
#: different places on a median says anything.
SLICE_GAP = 1.5
SLICE_PLACES = 4
#: An expectation is a few fields of JSON.
MAX_EXPECTATION_BYTES = 16 * KIB
