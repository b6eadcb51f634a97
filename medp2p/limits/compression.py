"""The bounds of compression on the wire: a part of ``limits``."""

from medp2p.limits.units import KIB, MIB

#: Of zstd; packs some 500 MB/s on one core, and the next level takes twice as long for 5 %.
COMPRESSION_LEVEL = 1
#: A chunk travels compressed only if it shrinks to this part of itself; less is not worth the
#: receiver's time.
COMPRESSION_WORTH = 0.9
#: What is looked at of a chunk before it is compressed: so many pieces, spread over it, so that a
#: header or the black rim of an image does not speak for the rest. A sixteenth of the work.
COMPRESSION_SAMPLE_PIECES = 8
COMPRESSION_SAMPLE_BYTES = 8 * KIB
#: Window that a frame may ask for: that of a whole chunk. Bounds the memory of the decoder.
COMPRESSION_WINDOW_BYTES = 1 * MIB
#: Blocks of a frame: a chunk fills 8, and encoders may split each of them some times.
COMPRESSION_BLOCKS = 1024
#: Chunks that a finding about the content holds for before it is looked at again: that it shrinks,
#: and at most that it does not (one more each time).
COMPRESSION_KEEP_CHUNKS = 8
COMPRESSION_SKIP_CHUNKS = 16
#: First bytes of a file that tell what it is: a DICOM preamble and the elements up to its
#: transfer syntax.
COMPRESSION_HEAD_BYTES = 1 * KIB

#: The link holds a transfer back if so much of the time a chunk waits for its place in it, and the
#: receiver for bytes. On 1 Gbit/s it is 0.95 for both; on loopback 0.2 for one of them.
PACE_HELD = 0.8
PACE_HUNGRY = 0.7
#: The first chunks find their places at once; one that has waited so long is none of them any more.
PACE_WAITED_SECONDS = 0.025
#: Chunks of one look while compressing; and how little of the time they wait for places if it is
#: the workers that hold back.
PACE_CHUNKS = 16
PACE_FREE = 0.3
#: Compressing a chunk may take this part of the time that the link takes for one: a faster link
#: is not what holds back.
PACE_PACKING = 0.7
#: What compressing one chunk takes, until it was measured.
PACE_PACKING_SECONDS = 0.0025
#: Compressed chunks after which is asked whether it helped, and by how much it must have.
PACE_TRIAL_CHUNKS = 16
PACE_HELPED = 1.05
#: Chunks until another trial after one that did not help: doubles, up to the second.
PACE_REST_CHUNKS = 64
PACE_REST_MOST_CHUNKS = 4096
#: Chunks after which, with the workers at their limit, the plain way is tried again: the link may
#: have become faster. Doubles.
PACE_DOUBT_CHUNKS = 512

#: Transfers whose bytes on the wire are remembered, for people who look afterwards.
MAX_WIRE_COUNTS = 1000
