"""PDFs made to harm whoever opens them, each put together from a few objects."""

from __future__ import annotations

import struct
import zlib

MIB = 1024 * 1024
PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>>"
CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"


def pdf(*objects: bytes) -> bytes:
    """A file of these objects, numbered from 1; the first is the catalog."""
    parts, offsets, size = [b"%PDF-1.7\n"], [], 9
    for number, content in enumerate(objects, 1):
        offsets.append(size)
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, content))
        size += len(parts[-1])
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table))
    parts.append(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, size))
    return b"".join(parts)


def stream(body: bytes, entries: bytes = b"") -> bytes:
    """A stream object with these entries in its dictionary."""
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(body), body)


def one_page(
    content: bytes, *objects: bytes, resources: bytes = b"", box: bytes = b"0 0 600 800", page: bytes = b""
) -> bytes:
    """A page that draws the stream `content`; `objects` are numbered from 5."""
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[%s]/Contents 4 0 R/Resources<<%s>>%s>>" % (box, resources, page)
    return pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", leaf, content, *objects)


# --- much out of little ------------------------------------------------------------------------------------------


def deflated_zeros(mebibytes: int, levels: int = 1) -> bytes:
    """So many MiB of zeros, packed `levels` times, made without ever being there: after a full flush the same block follows again."""
    packer = zlib.compressobj(9)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (mebibytes * MIB % 65_521) << 16 | 1  # Adler-32 of zeros
    packed = block[:2] + block[2:] * mebibytes + b"\x03\x00" + checksum.to_bytes(4, "big")
    for _ in range(levels - 1):
        packed = zlib.compress(packed, 9)
    return packed


def flate_bomb(mebibytes: int, levels: int) -> bytes:
    """What is to be drawn inflates, `levels` times packed, to so many MiB."""
    filters = b"/Filter[%s]" % (b"/FlateDecode" * levels)
    return one_page(stream(deflated_zeros(mebibytes, levels), filters))


def form(content: bytes, resources: bytes) -> bytes:
    """A form XObject: a drawing that others draw by name."""
    return stream(content, b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<<%s>>>>" % resources)


def multiplying_forms(levels: int, times: int, *others: bytes) -> bytes:
    """A form that draws the next one `times` over, and so on: times ** levels drawings. Each of `others` is the content of a page behind it."""
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 4 + len(others)))
    pages = [
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R/Resources<</XObject<</F %d 0 R>>>>>>"
        % (4 + len(others) + number, 5 + 2 * len(others))
        for number in range(1 + len(others))
    ]
    contents = [stream(content) for content in (b"/F Do", *others)]
    first = 5 + 2 * len(others)
    forms = [form(b"/F Do " * times, b"/F %d 0 R" % (first + level + 1)) for level in range(levels)]
    return pdf(
        CATALOG,
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, 1 + len(others)),
        *pages,
        *contents,
        *forms,
        form(b"0 0 600 800 re f", b""),
    )


def pattern_of_itself() -> bytes:
    """A page filled with a pattern that is filled with itself."""
    entries = b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]/XStep 1/YStep 1"
    tile = stream(b"/Pattern cs /P scn 0 0 1 1 re f", entries + b"/Resources<</Pattern<</P 5 0 R>>>>")
    return one_page(stream(b"/Pattern cs /P scn 0 0 600 800 re f"), tile, resources=b"/Pattern<</P 5 0 R>>")


# --- pages -------------------------------------------------------------------------------------------------------


def pages_of_their_own(count: int) -> bytes:
    """So many pages."""
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 3 + count))
    return pdf(CATALOG, b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids), *[PAGE] * count)


def same_page(count: int) -> bytes:
    """One page, so many times."""
    return pdf(CATALOG, b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, b"3 0 R " * count), PAGE)


def claimed_pages(count: int) -> bytes:
    """One page that says it were so many."""
    return pdf(CATALOG, b"<</Type/Pages/Count %d/Kids[3 0 R]>>" % count, PAGE)


def deep_page_tree(depth: int, *, counted: bool = True) -> bytes:
    """A page below so many nodes of one child each."""
    count = b"/Count 1" if counted else b""
    nodes = [b"<</Type/Pages%s/Kids[%d 0 R]>>" % (count, number + 1) for number in range(2, 2 + depth)]
    return pdf(CATALOG, *nodes, PAGE)


# --- what refers to itself ---------------------------------------------------------------------------------------

PAGE_TREE_OF_ITSELF = pdf(CATALOG, b"<</Type/Pages/Count 3/Kids[2 0 R 2 0 R 2 0 R]>>")
CATALOG_OF_ITSELF = pdf(b"1 0 R")
PAGES_THAT_ARE_A_REFERENCE_TO_THEMSELVES = pdf(CATALOG, b"2 0 R")
PARENTS_IN_A_CIRCLE = pdf(CATALOG, b"<</Type/Pages/Count 1/Kids[3 0 R]/Parent 3 0 R>>", b"<</Type/Page/Parent 2 0 R>>")
CONTENTS_OF_ITSELF = one_page(b"[4 0 R 4 0 R]")
LENGTH_OF_ITSELF = one_page(b"<</Length 4 0 R>>stream\nq Q\nendstream")
FORM_OF_ITSELF = one_page(stream(b"/F Do"), form(b"/F Do", b"/F 5 0 R"), resources=b"/XObject<</F 5 0 R>>")


# --- sizes -------------------------------------------------------------------------------------------------------


def page_of_size(width: int, height: int, unit: int = 1) -> bytes:
    """A page of so many units; `unit` is their length in points."""
    return one_page(stream(b"0 0 9 9 re f"), box=b"0 0 %d %d" % (width, height), page=b"/UserUnit %d" % unit)


def image_page(width: int, height: int, body: bytes, entries: bytes, *, in_form: bool = False) -> bytes:
    """A page that is an image of these dimensions, as its dictionary says."""
    kind = b"/Type/XObject/Subtype/Image/Width %d/Height %d" % (width, height)
    image = stream(body, kind + entries)
    drawing = b"600 0 0 800 0 0 cm /I Do"
    if in_form:
        return one_page(stream(b"/F Do"), image, form(drawing, b"/I 5 0 R"), resources=b"/XObject<</F 6 0 R>>")
    return one_page(stream(drawing), image, resources=b"/XObject<</I 5 0 R>>")


def jpx_page(width: int, height: int, *, said: int = 0, in_form: bool = False) -> bytes:
    """An image in JPEG 2000 of so many pixels and hardly a byte; its dictionary says `said` for each side, when not 0."""
    return image_page(said or width, said or height, _jpeg_2000(width, height), b"/Filter/JPXDecode", in_form=in_form)


def _jpeg_2000(width: int, height: int) -> bytes:
    def marker(code: int, body: bytes) -> bytes:
        return struct.pack(">HH", code, len(body) + 2) + body

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + kind + body

    size = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, width, height, 0, 0, 3) + b"\x07\x01\x01" * 3
    coding = b"\0\0" + struct.pack(">HB", 1, 0) + bytes([5, 4, 4, 0, 1])
    tile = marker(0xFF90, struct.pack(">HIBB", 0, 12 + 2 + 64, 0, 1)) + b"\xff\x93" + bytes(64)
    code = b"\xff\x4f" + marker(0xFF51, size) + marker(0xFF52, coding) + marker(0xFF5C, b"\x40" + b"\x48" * 16)
    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, 3, 7, 7, 0, 0)) + box(b"colr", b"\1\0\0\0\0\0\x10")
    return b"".join(
        (
            box(b"jP  ", b"\r\n\x87\n"),
            box(b"ftyp", b"jp2 \0\0\0\0jp2 "),
            box(b"jp2h", header),
            box(b"jp2c", code + tile + b"\xff\xd9"),
        )
    )


def jbig2_page(width: int, height: int, regions: int = 1) -> bytes:
    """An image in JBIG2 of so many pixels, drawn over `regions` times."""

    def segment(number: int, kind: int, body: bytes) -> bytes:
        return struct.pack(">IBBBI", number, kind, 0, 1, len(body)) + body

    page = segment(0, 48, struct.pack(">IIIIBH", width, height, 0, 0, 0, 0))
    adaptive = struct.pack("8b", 3, -1, -3, -1, 2, -2, -2, -2)
    region = struct.pack(">IIIIBB", width, height, 0, 0, 0, 0) + adaptive + bytes(20)
    body = page + b"".join(segment(number, 38, region) for number in range(1, 1 + regions))
    return image_page(width, height, body, b"/Filter/JBIG2Decode/ColorSpace/DeviceGray/BitsPerComponent 1")
