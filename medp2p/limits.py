"""Every bound and waiting time, with its unit and the reason for the number.

Nothing else in medp2p spells such a number out. A peer's wishes never override one.
"""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- the stream ---------------------------------------------------------------------------

#: Unit of hashing, journalling and repair. Large enough that a thread switch a chunk costs
#: nothing beside the work, small enough that a lost one is cheap to send again.
CHUNK_BYTES = 1 * MIB
#: age's own payload unit (age-encryption.org/v1, "STREAM").
AGE_CHUNK_BYTES = 64 * KIB
#: A stream of 16 TiB has 2^24 chunks: an index fits in 4 bytes and the journal in a database.
MAX_STREAM_BYTES = 16 * 1024 * GIB
MAX_FILE_BYTES = MAX_STREAM_BYTES
#: Linux PATH_MAX; longer ones cannot be opened by name at the receiver either.
MAX_PATH_BYTES = 4096
#: 100,000 files of a research MR set are real; ten times that still fits in memory.
MAX_ENTRIES = 1_000_000

# --- messages -----------------------------------------------------------------------------

#: Noise specification, section 3: no message is longer.
MAX_NOISE_BYTES = 65535
NOISE_TAG_BYTES = 16
#: Largest plaintext of one Noise message.
MAX_RECORD_BYTES = MAX_NOISE_BYTES - NOISE_TAG_BYTES
#: A handshake message with its small payload; anything longer is refused before it is read.
MAX_HANDSHAKE_BYTES = 1024
#: A control message; a manifest page is the largest.
MAX_MESSAGE_BYTES = 1 * MIB
#: First message after the handshake, from a peer that is pinned but has said nothing yet.
MAX_HELLO_BYTES = 16 * KIB
#: Canonical bytes of manifest entries in one page: leaves room for the frame around it.
MAX_PAGE_BYTES = 512 * KIB
#: Ranges of missing chunks in one message; more go into further messages.
MAX_RANGES = 8192
#: Facts in one message.
MAX_FACTS = 64
MAX_FACT_BYTES = 4 * KIB
#: Label (what must be checked by a person) and note of one offer.
MAX_LABEL_BYTES = 48 * KIB
MAX_NOTE_BYTES = 4 * KIB
#: Everything kept of an offer before its decision.
MAX_SUMMARY_BYTES = 64 * KIB
#: Undecided offers kept per peer; more wait at their sender as "receiver-full".
MAX_OFFERS_PER_PEER = 100
MAX_TOLD_CHARS = 64
MAX_FEATURES = 64
#: Reason of a decline or an abort, shown to the other side.
MAX_TEXT_BYTES = 1 * KIB

# --- waiting, in seconds ------------------------------------------------------------------

#: TCP connect, and each handshake as a whole: a LAN needs milliseconds, a WAN two round trips.
CONNECT_SECONDS = 5.0
HANDSHAKE_SECONDS = 5.0
#: How often an open conversation is heard from, and after what silence its link is dead.
HEARTBEAT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
#: A peer that takes no byte for so long has a dead link.
SEND_SECONDS = 30.0
#: Cleaning up under cancellation never takes longer.
CLEANUP_SECONDS = 2.0
#: Reconnecting, while a transfer waits for that peer and otherwise (jittered).
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_BUSY_SECONDS = 20.0
BACKOFF_IDLE_SECONDS = 60.0
#: SIGTERM to exit (the issue asks for 5 s).
STOP_SECONDS = 4.0

# --- connections --------------------------------------------------------------------------

#: Sockets that have not yet proved a pinned key: in all and from one address.
MAX_STRANGERS = 64
MAX_STRANGERS_PER_ADDRESS = 16
#: Sessions of one peer at a time: each running transfer has one.
MAX_SESSIONS_PER_PEER = 32
#: Transfers under way at a time, towards one peer and in all; more wait in the outbox.
MAX_RUNNING_PER_PEER = 4
MAX_RUNNING = 16

# --- the data path ------------------------------------------------------------------------

#: Chunks in flight inside one process and one transfer; bounds memory: 12 MiB a transfer.
CHUNKS_IN_FLIGHT = 12
#: Claims committed together (0.2 ms a commit).
CLAIM_GROUP = 16
#: Data made durable and journalled together.
JOURNAL_GROUP_BYTES = 64 * MIB
JOURNAL_GROUP_SECONDS = 1.0

# --- pairing ------------------------------------------------------------------------------

PAIRING_SECONDS = 600.0
PAIRING_GUESSES = 3

# --- keeping ------------------------------------------------------------------------------

#: A peer that is switched off is waited for.
WAIT_FOR_PEER_DAYS = 14
#: After its last fact, manifest, label and note of a transfer are erased.
KEEP_DETAILS_DAYS = 30
#: Free space left alone at accept: the larger of the two.
RESERVE_BYTES = 1 * GIB
RESERVE_FRACTION = 0.02
