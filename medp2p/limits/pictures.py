"""The bounds of previews: a part of ``limits``."""

from medp2p.limits.units import GIB, KIB, MIB

# --- pictures -------------------------------------------------------------------------------

#: Longest edge of a preview, in pixels: enough to know one series from another, too little to
#: read an image by.
PICTURE_EDGE = 256
#: Pixels of one frame; a mammogram has 27 million, a whole spine in one image 40.
PICTURE_PIXELS = 50_000_000
#: Bytes read of one file; of a multi-frame image only the header and one frame are wanted, and
#: 50 million pixels of 16 bits are 100 MB.
PICTURE_READ_BYTES = 128 * MIB
#: Requests of the child for one file, and bytes of one of them. Frames without an offset table
#: are found one by one.
PICTURE_READS = 50_000
PICTURE_RANGE_BYTES = 1 * MIB
#: Read ahead by the child: elements of headers lie close together.
PICTURE_AHEAD_BYTES = 16 * KIB
#: An element longer than this is passed by; palettes and look-up tables have 128 KiB.
PICTURE_ELEMENT_BYTES = 4 * MIB
#: The child that makes pictures: address space (its libraries map 300 MiB; decoding 50 million
#: pixels of JPEG 2000 takes 600 MiB), CPU time and elapsed time for one picture.
PICTURE_CHILD_BYTES = 1 * GIB
PICTURE_CPU_SECONDS = 10
PICTURE_SECONDS = 15.0
#: What a client waits for one answer is longer (API_ANSWER_SECONDS); what has no picture by then
#: says so and can be asked for by itself.
PICTURE_ALL_SECONDS = 25.0
#: Series in one answer; the page asks for more by name.
PICTURE_SERIES = 32
#: Series of one transfer whose middle is remembered at the look after the seal.
PICTURE_PICKS = 400
#: An answer of the child: the pixels of one picture in three colours, and some words.
PICTURE_ANSWER_BYTES = 3 * PICTURE_EDGE * PICTURE_EDGE + 1 * KIB
