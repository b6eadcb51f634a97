"""Bounds of the status page and of what it asks for."""

#: Tokens, cookies and tab secrets of the page: nobody guesses 256 bits.
PAGE_SECRET_BYTES = 32
#: From `medp2p web` to the browser's first request: a cold browser on an old disk.
PAGE_TOKEN_SECONDS = 60.0
#: Tokens given out and not used; the oldest goes. Somebody who clicks while a browser starts.
MAX_PAGE_TOKENS = 16
#: What a page has signed, to know that the daemon is still who answers: 32 bytes in hex.
MAX_CHALLENGE_BYTES = 64
#: Browsers with a session, and tabs of one: more come from a script; the oldest goes.
MAX_PAGE_SESSIONS = 32
MAX_PAGE_TABS = 16
#: Cookies of our name that are looked at in one request; another port can plant them.
MAX_PAGE_COOKIES = 64
#: Event streams at a time: one tab of a browser reads for all of them.
MAX_PAGE_READERS = 16
#: Without anybody at it a page ends its session after so long; shortest and longest to be set.
PAGE_IDLE_SECONDS = 600
MIN_PAGE_IDLE_SECONDS = 60
MAX_PAGE_IDLE_SECONDS = 8 * 3600
#: A session that nobody uses ends no later than this after its time, also after a sleep of the
#: machine, in which timers stand still.
PAGE_LOOK_SECONDS = 5.0
#: Transfers of each kind in one overview, and what a client may ask for of the boxes.
MAX_WAITING_SHOWN = 100
MAX_ACTIVE_SHOWN = 100
OVERVIEW_ROWS = 30
MAX_OVERVIEW_ROWS = 200
#: Audit records in an overview, and in each event about them.
OVERVIEW_AUDIT = 30
#: Transfers in one answer of a search, as asked for and at most.
SEARCH_ROWS = 50
MAX_SEARCH_ROWS = 200
#: Labels opened for one answer of a search for a patient: some 0.15 ms each.
MAX_SEARCH_LABELS = 2000
#: What is looked for in a label: a name and an ID.
MAX_SEARCH_CHARS = 200
#: Entries of a folder in one answer; and names read before they are put in order.
MAX_FOLDER_ENTRIES = 1000
MAX_FOLDER_NAMES = 20_000
#: Listing a folder: a network mount that takes longer is dead.
FOLDER_SECONDS = 10.0
#: Threads for that; dead mounts keep theirs.
FOLDER_THREADS = 2
#: Events go to a page at most so often, each thing once: what moves is seen to move.
PAGE_EVENT_SECONDS = 0.5
#: New audit records and alarms, and who is nearby, are told at most so often.
NEWS_SECONDS = 0.5
NEARBY_SECONDS = 2.0
#: Disk space and the like are told anew so often while somebody looks.
STATUS_SECONDS = 30.0
#: Wrong tokens are noted at most so often, with their count.
PAGE_REFUSED_SECONDS = 60.0
#: A refused handshake is no alarm before this time: who is paired by hand is refused until the
#: other side has entered its key too. What shows no key is one if it goes on for so long: a peer
#: that waits calls again within 60 s. What comes more seldom than in the second time is forgotten.
REFUSED_WAIT_SECONDS = 30.0
REFUSED_LASTING_SECONDS = 600.0
#: Such alarms are looked for so often, an address is told at most once in the second time, and so
#: many addresses in it; all others are one.
REFUSED_LOOK_SECONDS = 5.0
REFUSED_AGAIN_SECONDS = 86400
MAX_REFUSED_TOLD = 8
#: A notice on the desktop waits so long for what comes with it, or is decided at once by a rule.
NOTICE_WAIT_SECONDS = 2.0
#: Pause between two notices, and the time that showing one may take.
NOTICE_PAUSE_SECONDS = 5.0
NOTICE_SECONDS = 10.0
#: Lines in one notice; more are counted.
MAX_NOTICE_LINES = 4
#: Offers and alarms of which the desktop was told, remembered so that it is told once.
MAX_NOTICED = 1000
#: What the end of the daemon waits for its open pages to hear of it, so that they hide what they
#: show.
LAST_WORDS_SECONDS = 0.5
