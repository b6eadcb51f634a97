"""Bounds and waiting times, with their units and the reasons for the numbers.

A peer's wishes never override one. A number that concerns one module only stands there.
"""

from medp2p.limits.compression import *  # noqa: F403  a part of this table in a file of its own
from medp2p.limits.discovery import *  # noqa: F403  likewise
from medp2p.limits.headers import *  # noqa: F403  likewise
from medp2p.limits.page import *  # noqa: F403  likewise
from medp2p.limits.pictures import *  # noqa: F403  likewise
from medp2p.limits.units import GIB as GIB
from medp2p.limits.units import KIB as KIB
from medp2p.limits.units import MIB as MIB

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
#: The whole manifest in canonical bytes: a million entries with paths of 100 bytes, held once
#: in memory and sealed in one piece.
MAX_MANIFEST_BYTES = 128 * MIB
#: Ranges of missing chunks in one message; more go into further messages.
MAX_RANGES = 8192
#: Facts in one message.
MAX_FACTS = 64
#: Facts of one exchange: all that come up while a peer is away for weeks.
MAX_FACTS_ROUND = 4096
#: How far a number may be ahead of the last one known: no workstation states a million things
#: about one peer between two meetings, and numbers stay far from their bound.
MAX_FACT_STEP = 2**20
MAX_FACT_BYTES = 4 * KIB
#: A proof file: some facts of at most MAX_FACT_BYTES in base64, keys, and perhaps an offer.
MAX_PROOF_BYTES = 32 * MIB
#: Named details of one fact: a reason and a few counts.
MAX_FACT_DETAILS = 16
#: Label (what must be checked by a person) and note of one offer.
MAX_LABEL_BYTES = 48 * KIB
MAX_NOTE_BYTES = 4 * KIB
#: Everything kept of an offer before its decision.
MAX_SUMMARY_BYTES = 64 * KIB
#: Headers and padding of a stream that do not count against max-bytes: 60,000 small files.
HEADERS_FREE_BYTES = 64 * MIB
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
#: A dial waits so much longer: who does not know us closes after HANDSHAKE_SECONDS without a
#: word, by its own clock and over the network; who hangs does not even do that.
HANDSHAKE_GRACE_SECONDS = 2.0
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
#: SIGTERM to exit; who stops a daemon waits no longer than 5 s.
STOP_SECONDS = 4.0

# --- connections --------------------------------------------------------------------------

#: Sockets that have not yet proved a pinned key: in all and from one address.
MAX_STRANGERS = 64
MAX_STRANGERS_PER_ADDRESS = 16
#: Sessions of one peer at a time: each running transfer has one.
MAX_SESSIONS_PER_PEER = 32
#: Transfers under way towards a peer; more wait. None on all: the slow must not hold up others.
MAX_RUNNING_PER_PEER = 4
#: Facts of its peer kept of one transfer (an honest one has a dozen); numbers of others noted.
MAX_FACTS_PER_TRANSFER = 64
MAX_NOTED_FACTS = 256

#: Addresses of one peer that are dialled side by side: a workstation with VPN, Docker and two
#: networks has fewer; more come from a hostile or broken responder.
MAX_ROUTES = 16
#: Pause after a failed accept (no descriptors left, a network gone); grows to the second one.
ACCEPT_RETRY_SECONDS = 0.1
ACCEPT_RETRY_MAX_SECONDS = 2.0
#: The same trouble is logged again after so long.
LOG_AGAIN_SECONDS = 60.0
#: A whole pairing conversation: the words were typed before it begins, so seconds suffice.
PAIRING_LINK_SECONDS = 20.0
#: What a refused stranger may still say, unread by anyone, until it is cut.
MAX_STRANGER_BYTES = 64 * KIB

# --- the data path ------------------------------------------------------------------------

#: Worker threads of one transfer at a sender that compresses: two cores are what it has to spare.
WORKERS = 2
#: Chunks that a worker thread reads and seals in one call: handing work to a thread and back costs
#: as much as half a chunk does.
WORK_CHUNKS = 4
#: Chunks that are taken off a link in one call, if they are there: a quarter of its memory.
TAKE_CHUNKS = 8
#: Sealed chunks that one link holds on their way out: two workers and the network busy.
LINK_CHUNKS = 16
#: The same where a chunk, once it is sealed, takes longer than QUEUE_SECONDS to leave: what is
#: queued behind chunks (a cancel, a heartbeat) must not wait for long.
SLOW_LINK_CHUNKS = 6
QUEUE_SECONDS = 0.25
#: Sealed chunks that a link holds on their way in: one group that is being claimed, and another
#: that is worked on. Bounds memory: 32 MiB a transfer.
RECEIVE_CHUNKS = 32
#: The same of all links together: many transfers at a time take little more memory than one;
#: beyond that each link gets WORK_CHUNKS.
SEND_BUFFERS = LINK_CHUNKS
RECEIVE_BUFFERS = RECEIVE_CHUNKS
#: Memory for a chunk, sealed for the wire or for the vault, and a page to lay it out.
ROOM_BYTES = CHUNK_BYTES + 8 * KIB
#: How long a worker thread that sends a chunk waits for room in the network: a gigabit link takes
#: one meanwhile. On a slower one a task waits. A cancel waits for a group of them at most.
SEND_PATIENCE_SECONDS = 0.01
#: Control messages waiting in one link to be sent; a manifest page of each is 4 MiB.
LINK_MESSAGES = 8
#: Bytes not yet sent that the kernel keeps before it calls a socket writable again: with trio's
#: 16 KiB a bulk sender is woken for each 16 KiB; with a chunk, the next one is fetched meanwhile.
NOTSENT_BYTES = CHUNK_BYTES
#: From this round trip on a path is no LAN: see net/congestion.py.
LONG_PATH_SECONDS = 0.005
#: Claims committed together (0.2 ms a commit).
CLAIM_GROUP = 16
#: How long a group waits to become whole: at 500 MB/s it takes 30 ms; a slower link loses
#: nothing by smaller groups.
CLAIM_LINGER_SECONDS = 0.03
#: Data written and not yet durable and journalled, at most; a flush begins at half of it. With
#: what a link holds besides, a kill costs 64 MiB.
JOURNAL_GROUP_BYTES = 32 * MIB
JOURNAL_GROUP_SECONDS = 1.0

# --- scans and couriers (daemon) ------------------------------------------------------------

#: Unconfirmed scans in memory; a scan of 200,000 files takes some 60 MB.
MAX_SCANS = 8
KEEP_SCAN_SECONDS = 3600.0
#: How often a scan under way has news: each costs its follower and the daemon some milliseconds.
SCAN_NEWS_SECONDS = 0.2
#: How long a question about a scan waits for news.
SCAN_POLL_SECONDS = 20.0
#: A dial that has taken so long is begun anew when the peer is heard of otherwise.
DIAL_SLOW_SECONDS = 0.5
#: An undecided offer that has lost its connection, or found the receiver full, is offered again
#: after this; a receiver that has decided calls, and it goes on at once.
OFFER_AGAIN_SECONDS = 30.0
#: The same for an offer whose connection another transfer took: some 100 of them cost nothing.
OFFER_REST_SECONDS = 600.0
#: An offer to somebody outside, or to a peer that releases by itself, can be taken back for so
#: long before it leaves: long enough to see the mistake. And the longest that can be set.
UNDO_SECONDS = 10
MAX_UNDO_SECONDS = 3600
#: Key words are shown again on the confirmation when nobody compared them for so long.
VERIFY_AGAIN_DAYS = 90
#: Patterns of --exclude, and patients that one confirmation expects.
MAX_EXCLUDES = 100
MAX_EXPECTATIONS = 100
#: An erasing that failed, or whose traces a reader held up, is tried again.
ERASE_AGAIN_SECONDS = 10.0
#: How long the answer to a discard waits for the file to be gone; a disk that fails takes longer.
ERASE_WAIT_SECONDS = 5.0
#: How often the janitor looks without being asked.
ERASE_LOOK_SECONDS = 60.0
#: A source file that cannot be read (a network mount that hangs) is tried so often, with pauses
#: up to BACKOFF_BUSY_SECONDS: about two minutes.
SOURCE_TRIES = 10
#: From the last flush of a sealed file to the row that says so: a slow disk at its worst.
COMMIT_SECONDS = 60.0
#: Pause before a task that failed begins anew, growing to the last.
TEND_FIRST_SECONDS = 0.5
TEND_LAST_SECONDS = 60.0
#: Connections of one peer's courier: each rests on an undecided offer or moves chunks.
MAX_COURIER_LINKS = 16
#: Dialling a peer for whom nothing waits: longest pause while it is away.
BACKOFF_AWAY_SECONDS = 300.0
#: How often old papers, long waits and summaries of strangers are looked after.
HOUSEKEEPING_SECONDS = 300.0
#: How often progress is told to those who watch: a person sees no more.
TICK_SECONDS = 0.25
#: Within which a live daemon answers a ping; two that do with one identity are a clone.
CLONE_PING_SECONDS = 3.0

# --- pairing ------------------------------------------------------------------------------

#: How long a code is shown: time to walk over, or to read it out on the phone.
PAIRING_SECONDS = 600.0
#: Wrong guesses until pairing closes, one for each code: a stranger's chance is 3 in a million.
PAIRING_GUESSES = 3

# --- keeping ------------------------------------------------------------------------------

#: A peer that is switched off is waited for.
WAIT_FOR_PEER_DAYS = 14
#: After its last fact, manifest, label and note of a transfer are erased.
KEEP_DETAILS_DAYS = 30
#: A sealed transfer that nobody releases expires, as does an offer that nobody decides about.
EXPIRE_AFTER_DAYS = 7
#: Running time of the daemon between "expiring" and the erasing: a wrong clock is noticed, and a
#: weekend without anyone at the machine does not count when it is off.
EXPIRY_GRACE_SECONDS = 24 * 3600
#: An offer that nobody has decided about is an alarm at its sender: urgent ones, and others.
UNDECIDED_STAT_MINUTES = 10
UNDECIDED_ROUTINE_HOURS = 24
#: How often deadlines are looked at; an alarm is no later than that.
DEADLINE_LOOK_SECONDS = 15.0
#: A clock may step back so far without being called wrong (NTP).
CLOCK_STEP_SECONDS = 60.0
#: How often a transfer without room looks again.
SPACE_POLL_SECONDS = 2.0
#: Free space left alone at accept: the larger of the two.
RESERVE_BYTES = 1 * GIB
RESERVE_FRACTION = 0.02

# --- sources (parcel) ---------------------------------------------------------------------

#: Entries walked between two words of progress and looks at "cancelled": some milliseconds.
SCAN_PROGRESS_ENTRIES = 500
#: Folders and files that one reader keeps open. Neighbours in the stream lie in the same folder
#: and a large file is read chunk after chunk, so few are enough; MAX_RUNNING_PER_PEER transfers to
#: each of ten peers stay below the usual limit of 1024 descriptors.
READER_FOLDERS = 16
READER_FILES = 8

# --- the workstation ----------------------------------------------------------------------

#: TCP port of a daemon; unassigned at IANA.
DEFAULT_PORT = 17820
#: config.toml is written by people; anything longer is not one.
MAX_CONFIG_BYTES = 256 * KIB
#: daemon.json as we write it has a few hundred bytes; more is not ours.
MAX_DAEMON_JSON_BYTES = 64 * KIB
#: Longest time a config may ask for: ten years; beyond is a slip of the unit.
MAX_CONFIG_SECONDS = 10 * 366 * 86400
#: Events that wait for one slow subscriber; newer ones about the same thing replace older ones.
MAX_PENDING_EVENTS = 256
#: Fixed addresses of one peer; all are dialled side by side.
MAX_ADDRESSES_PER_PEER = 16
#: How long the last word about a peer (reached, or not) is believed: five idle reconnects.
PRESENCE_SECONDS = 300.0
#: A peer heard of within this time is not called on only to see whether it is there.
PRESENCE_CALL_SECONDS = 120.0
#: A clock this far from a peer's is shown: dates in two audit logs no longer compare.
CLOCK_SKEW_SECONDS = 120.0
#: One step of a pairing run (a message each way); SPAKE2 itself takes milliseconds.
PAIRING_STEP_SECONDS = 10.0
#: How long a joiner looks for the number of a code in mDNS, and how long after the first
#: candidate it waits for a second one, which would make the number ambiguous.
PAIRING_SEARCH_SECONDS = 8.0
PAIRING_SETTLE_SECONDS = 1.0
#: Codes a joiner has used and will not use again; a person types a few an hour.
MAX_BURNT_CODES = 64

# --- control and command line -------------------------------------------------------------

#: Open connections of the command line: shell loops, a few `watch`, a `send --wait` each.
MAX_CONTROL_CLIENTS = 64
#: Open connections from 127.0.0.1, where any account of the machine can connect: six for each
#: browser that may read events. Beyond that the oldest one without a session goes.
MAX_PAGE_CLIENTS = 96
#: A command line holds at most 6 MiB (Linux: three quarters of _STK_LIM); base64 adds a third.
MAX_API_BODY_BYTES = 8 * MIB
#: Forms of the page hold a few fields.
MAX_PAGE_BODY_BYTES = 64 * KIB
#: A whole request arrives within this time; it is on this machine.
API_BODY_SECONDS = 10.0
#: A client that takes no byte for so long is cut off (a suspended browser tab, a stopped pager).
API_SEND_SECONDS = 10.0
#: An idle connection is kept so long for its next request.
API_IDLE_SECONDS = 15.0
#: An event stream says something at least so often; its reader looks again at what it waits for.
API_TICK_SECONDS = 5.0
#: The command line waits so long for an answer: longer than SCAN_POLL_SECONDS, and longer than a
#: daemon is busy with a commit. Acts that read a whole transfer have no bound: if the daemon
#: ends, its socket closes.
API_ANSWER_SECONDS = 40.0
#: `doctor` takes a daemon that says nothing for so long for one that hangs.
ALIVE_SECONDS = 5.0
#: Shell completion asks the daemon for names; a slow answer is none.
COMPLETION_SECONDS = 1.0
#: Commands that follow something wait so long for a daemon that is being restarted.
DAEMON_RETURN_SECONDS = 60.0
#: Looking up an account's name may go to a directory server that does not answer.
ACCOUNT_SECONDS = 2.0
#: Path of a Unix socket: 108 bytes with the NUL on Linux, 104 on macOS (sys/un.h).
MAX_SOCKET_PATH_BYTES = 103
#: Audit records in one answer of the API; the command line asks for the next page.
MAX_AUDIT_PAGE = 1000

# --- the vault ----------------------------------------------------------------------------

#: Header of an age file: 160 recipients. A longer one was not written by medp2p.
MAX_AGE_HEADER_BYTES = 16 * KIB
#: One sealed blob in the database, before compression: a manifest of a million entries with
#: paths of 500 bytes.
MAX_BLOB_BYTES = 512 * MIB
#: A key file holds one line and a comment.
MAX_KEY_FILE_BYTES = 4 * KIB
#: Name of one file or folder: Linux NAME_MAX, and what almost every file system holds.
MAX_NAME_BYTES = 255
#: Folders that a release keeps open: enough for a study's, far below any descriptor limit.
MAX_OPEN_FOLDERS = 64
#: Threads of one release; each reads, opens, checks and writes whole chunks.
RELEASE_THREADS = 2
#: A file of a release from so many bytes on is on its way to the disk as soon as it is written.
WRITEBACK_BYTES = 128 * KIB
#: How often a release under way looks whether its sender has taken it back: a look costs as much
#: as a third of a chunk.
RELEASE_STOP_SECONDS = 0.25
#: Files from so many bytes on go past the page cache: some studies of that size hardly stay in it
#: until a release on a workstation with 8 GiB of memory, but push out what other programs have
#: there. Smaller ones are still there when somebody opens them soon after.
DIRECT_FILE_BYTES = 256 * MIB
#: Less than this at a time goes through it all the same: a copy then costs less than to wait.
DIRECT_BYTES = 128 * KIB
#: Smallest piece that file systems give out: a release of many small files needs one for each.
DISK_BLOCK_BYTES = 4 * KIB

#: The command that looks over a staged folder; clamscan reads some 20 MB a second.
RELEASE_SCAN_SECONDS = 3600
#: A release for a time: from a look at one image to a research stay.
MIN_RELEASE_SECONDS = 1
MAX_RELEASE_SECONDS = 366 * 86400
#: Removing what was released for a time failed (a network mount is away): tried again.
WITHDRAW_AGAIN_SECONDS = 600.0
#: How often somebody looks whether such a time is over, unless it is sooner; and the longest look
#: at all released folders.
WITHDRAW_LOOK_SECONDS = 60.0
RELEASED_LOOK_SECONDS = 5.0
#: Clear images that lie outside the vault for longer are counted as old.
RELEASED_OLD_DAYS = 7
#: Held transfers in one status; `inbox` lists all.
MAX_HELD_SHOWN = 100

# --- the database -------------------------------------------------------------------------

#: A write waits so long for another program (a backup, sqlite3), a checkpoint for readers.
STORE_BUSY_SECONDS = 5.0
#: Connections for reading that are kept open; more are opened when asked for, and closed again.
STORE_IDLE_READERS = 4
#: The write-ahead log is cut to this after a burst; otherwise its file stays at its largest.
STORE_WAL_BYTES = 16 * MIB
#: Transfers in one page of a list.
MAX_LISTED = 10_000
#: Rows about refused strangers (about 100 bytes each), and summaries of one hour in the chain.
MAX_STRANGER_ROWS = 1000
MAX_STRANGER_SUMMARIES = 32
#: Alarms kept; a person reads a handful, the audit chain has all.
MAX_ALARMS = 500
