"""The commented file of settings that `init` leaves."""

#: Filled in with name, department and place, each as a TOML string.
TEMPLATE = """\
# medp2p: settings of this workstation.
#
# Read when the daemon starts and at `medp2p reload`. An unknown key or a value that cannot be
# understood stops the start (at reload the old values stay). `medp2p config` shows every value
# in force. Settings of a single peer are not here: see `medp2p peers set`.

# Who we are, as told to paired workstations and shown beside the names that they gave us.
# At most 64 characters each. No patient data.
name = {name}
department = {department}
place = {place}

# Where to listen: "ADDR:PORT", or ":PORT" for all addresses of both kinds.
#listen = ":17820"

# Announce this workstation on the local network (mDNS), and look for others there.
# Announced are the name above, the fingerprint of our key, port and version.
#mdns = true

# Compress what is sent ("auto": where the link is what holds a transfer back and the files shrink;
# both workstations must allow it), or never, neither way ("off"). How far files shrink shows in the
# length of what passes on the network, and so a little of what they are: docs/THREATS.md.
#compression = "auto"

# Free space to leave alone on the disk of the vault: a number with B, kB, MB, GB, TB, KiB, MiB,
# GiB or TiB; 0 for none. Without it: the larger of 1 GiB and 2 % of the disk.
#reserve = "1 GiB"

# How long a transfer waits for a peer that is switched off.
#wait-for-peer = "14 days"

# How long after its last event manifest, label and note of a transfer are kept.
# Id, peer, counts, root, times and signed facts stay.
#keep-details = "30 days"

# How long an incoming transfer that nobody releases is kept. Then it is "expiring", which its
# sender is told, and after 24 more hours in which this daemon runs it is erased.
#expire-after = "7 days"

# An offer of ours about which nobody has decided for so long is an alarm here.
#undecided-stat = "10 minutes"
#undecided-routine = "24 hours"

# After how long without anybody at it the page (`medp2p web`) ends its session and hides all
# patient data: 1 minute to 8 hours.
#page-idle = "10 minutes"

# Whether the desktop of the account that runs the daemon shows a notice when an offer waits for a
# decision and when there is an alarm. It names priority and peer, no patient. Needs notify-send.
#notify = false

# A command that looks over what is to be released, such as a virus scanner, while it is staged
# beside the target: its words; the path of the folder is put behind them. Exit status 0 lets
# it pass; anything else, or more time than this, holds the release.
#release.scan = "/usr/bin/clamdscan --fdpass"
#release.scan-time = "1 hour"

# From when on a released folder that still lies there is counted as old by `medp2p status`.
#release.old-after = "7 days"
"""
