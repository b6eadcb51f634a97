"""Bounds of finding each other on a network: own addresses, mDNS."""

#: Own addresses are looked at so often: nothing tells a program when they change.
ADDRESS_POLL_SECONDS = 2.0
#: A changed address counts once it has stayed so long (Wi-Fi hands over in several steps).
ADDRESS_SETTLE_SECONDS = 2.0
#: Discovery that failed, for want of an interface say, is tried again after so long.
MDNS_RETRY_SECONDS = 5.0
#: Interfaces are looked at again so often even if no address has changed: an IPv6 address is
#: listed seconds before it can be used. It costs a millisecond.
MDNS_RESCAN_SECONDS = 5.0
#: Between two announcements: receivers replace what is more than 1 s old, and keep the rest.
MDNS_PAUSE_SECONDS = 1.5
#: After a change of a service: old records have gone by then.
MDNS_SETTLE_SECONDS = 2.0
#: Services that may claim one fingerprint; more than one is a cloned or a hostile machine.
MAX_SERVICES_PER_PEER = 4
#: One question for the addresses of a service; answers take milliseconds.
MDNS_LOOKUP_SECONDS = 3.0
#: Lookups at a time, and names waiting for one: a flood of names loses its oldest.
MDNS_LOOKUPS = 4
MDNS_WAITING = 256
#: Unpaired workstations remembered as nearby; the one seen longest ago goes.
MAX_NEARBY = 256
