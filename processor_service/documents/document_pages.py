"""An uploaded document as pages: images by Pillow, text by itself (PDF is in `pdf_pages`). Runs in the rendering child only.

What can go wrong with a document is `DocumentError`; what a page may cost is `RenderLimits`. The libraries are imported where they are used: the child must
be ready soon, and the parent imports this file for its types.
"""

import io
import math
import warnings
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from processor_service.documents.png_chunks import bare_png
from processor_service.documents.upright import for_reading

if TYPE_CHECKING:
    from PIL import Image

DPI = 300  # what the Brain itself renders at
MAX_SIDE_PIXELS = 32_767  # beyond it bitmap strides of image libraries overflow
IMAGE_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/tiff": "TIFF"}
ORIENTATION, UPRIGHT = 0x0112, 1  # the tag of EXIF, and its value for a picture that is not to be turned
PDF_TYPE = "application/pdf"
TEXT_TYPES = ("text/plain", "text/markdown")
TEXT_PAGE_CHARS = 3_000
TEXT_SHEET_CHARS = 30_000  # a page that the author ended with a form feed may be longer, but not without end


class DocumentReason(StrEnum):
    FILE_ENCRYPTED = "FILE_ENCRYPTED"
    FILE_CORRUPT = "FILE_CORRUPT"
    FILE_UNSUPPORTED = "FILE_UNSUPPORTED"
    TOO_MANY_PAGES = "TOO_MANY_PAGES"
    PAGE_TOO_LARGE = "PAGE_TOO_LARGE"
    RENDERING_TIMED_OUT = "RENDERING_TIMED_OUT"
    RENDERING_OUT_OF_MEMORY = "RENDERING_OUT_OF_MEMORY"
    RENDERER_CRASHED = "RENDERER_CRASHED"


class DocumentError(Exception):
    """A document or page that could not be rendered.

    DocumentError
    ├── permanent     FILE_ENCRYPTED, FILE_CORRUPT, FILE_UNSUPPORTED, TOO_MANY_PAGES, PAGE_TOO_LARGE, and
    │                 RENDERING_OUT_OF_MEMORY where the page itself asked for more than its limit
    └── not at first  RENDERING_TIMED_OUT, RENDERER_CRASHED: the machine may be at fault (load, the kernel's memory
                      killer). Permanent when the same page does it twice in one `DocumentRenderer`.

    `message` says what to do, names no path and quotes nothing from the document.
    """

    def __init__(self, reason: DocumentReason, message: str, *, permanent: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.permanent = permanent


@dataclass(frozen=True)
class RenderLimits:
    """Bounds of one document's rendering, and how its pages are read; see `rendering` for the deadline, which the parent keeps.

    `max_page_pixels`: larger pages are scaled down. `max_source_pixels`: larger images are refused unread, as are pages
    of a PDF with a larger one that PDFium unpacks whole. `max_page_bytes`: of one PNG; halved in size until it fits.
    `cpu_seconds`: for each call. `document_cpu_seconds`: for all of them. `memory_bytes`: address space. 1.5 GiB holds an image of `max_source_pixels` and a
    page of `max_page_pixels` at their defaults. `text_layers`: whether a page of a PDF may be given as its own text.
    """

    max_pages: int = 2_000
    max_page_pixels: int = 40_000_000
    max_source_pixels: int = 120_000_000
    max_page_bytes: int = 64 * 1024 * 1024
    memory_bytes: int = 1536 * 1024 * 1024
    cpu_seconds: int = 60
    document_cpu_seconds: int = 1_800
    open_files: int = 32
    text_layers: bool = True


class Document(Protocol):
    """An open document: its number of pages, and each as PNG bytes or text."""

    pages: int

    def render(self, page: int) -> bytes | str: ...


class ImagePages:
    """One page for each image in the file: more than one in a TIFF only; of animations the first frame."""

    def __init__(self, path: str, media_type: str, limits: RenderLimits) -> None:
        from PIL import Image  # noqa: PLC0415

        self._limits, self._path = limits, Path(path)
        self._is_as_stored = media_type == "image/png"
        Image.MAX_IMAGE_PIXELS = limits.max_source_pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            self._image = Image.open(path, formats=[IMAGE_FORMATS[media_type]])
            self.pages = self._count_frames() if media_type == "image/tiff" else 1
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise self._too_large() from error
        check_pages(self.pages, limits)
        self._check_size()

    def render(self, page: int) -> bytes:
        from PIL import ImageOps  # noqa: PLC0415

        self._image.seek(page)
        self._check_size()
        self._is_as_stored = self._is_as_stored and self._image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
        # In place, since a copy of a large photo takes half a gigabyte. It may be done again: it clears the orientation.
        ImageOps.exif_transpose(self._image, in_place=True)
        image = flatten(self._image)
        width, height = image.size
        scale = fit_scale(width, height, self._limits.max_page_pixels, most=1.0)
        if scale < 1.0:
            image = image.resize((math.ceil(width * scale), math.ceil(height * scale)), reducing_gap=2.0)
        upright = for_reading(image, self._limits.max_page_pixels)
        # Decoded whole by now, so the Brain can do so as well.
        stored = self._stored() if upright is self._image and self._is_as_stored else None
        return stored or encode_png(upright, self._limits)

    def _stored(self) -> bytes | None:
        """The picture as it is in the file, when that is a PNG that may be handed on."""
        if self._path.stat().st_size > self._limits.max_page_bytes:
            return None
        return bare_png(self._path.read_bytes())

    def _count_frames(self) -> int:
        # Not `n_frames`, which walks all the directories of the file, be they a million.
        for frame in range(self._limits.max_pages + 1):
            try:
                self._image.seek(frame)
            except EOFError:
                return frame
        return self._limits.max_pages + 1

    def _check_size(self) -> None:
        width, height = self._image.size
        if width * height > self._limits.max_source_pixels:
            raise self._too_large()

    def _too_large(self) -> DocumentError:
        return DocumentError(
            DocumentReason.PAGE_TOO_LARGE,
            f"The image has more than {self._limits.max_source_pixels // 1_000_000} million pixels. "
            "Scale it down and upload it again.",
        )


class TextPages:
    def __init__(self, path: str, limits: RenderLimits) -> None:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DocumentError(
                DocumentReason.FILE_CORRUPT, "The text file is not UTF-8. Save it as UTF-8 and upload it again."
            ) from error
        self._pages = split_text(text.replace("\x00", ""))
        self.pages = len(self._pages)
        check_pages(self.pages, limits)

    def render(self, page: int) -> str:
        return self._pages[page]


def split_text(text: str) -> list[str]:
    """Pages of a plain text: at form feeds where it has any, else at paragraphs, about `TEXT_PAGE_CHARS` each.

    A paragraph longer than a page is cut at a line end, a space, or at last anywhere. Joined (form feeds apart), the
    pages are the text. An empty text is one empty page.
    """
    if "\f" not in text:
        return _split_sheet(text, TEXT_PAGE_CHARS)
    sheets = text.split("\f")
    if not sheets[-1].strip():  # a form feed ends a page; what is behind the last one is none
        sheets.pop()
    return [page for sheet in sheets for page in _split_sheet(sheet, TEXT_SHEET_CHARS)]


def _split_sheet(text: str, limit: int) -> list[str]:
    pages: list[str] = []
    start = 0
    while len(text) - start > limit:
        end = start + limit
        cuts = (text.rfind(mark, start + limit // 2, end) + len(mark) for mark in ("\n\n", "\n", " "))
        cut = next((cut for cut in cuts if cut > start + limit // 2), end)
        pages.append(text[start:cut])
        start = cut
    if text[start:].strip() or not pages:
        pages.append(text[start:])
    return pages


def fit_scale(width: float, height: float, max_pixels: int, most: float = DPI / 72) -> float:
    """The factor, `most` at most, by which a page of `width` x `height` has no more than `max_pixels` (1 or more).

    Sides are rounded up to whole pixels, as PDFium does, and stay within `MAX_SIDE_PIXELS`.
    """

    def fits(scale: float) -> bool:
        columns, rows = math.ceil(width * scale), math.ceil(height * scale)
        return columns * rows <= max_pixels and max(columns, rows) <= MAX_SIDE_PIXELS

    scale = min(most, math.sqrt(max_pixels / width / height), MAX_SIDE_PIXELS / max(width, height))
    while not fits(scale):
        scale *= 0.999
    return scale


def flatten(image: "Image.Image") -> "Image.Image":
    """`image` as mode L or RGB: deep grays scaled to 8 bits, transparency laid on white."""
    from PIL import Image  # noqa: PLC0415

    if image.mode in ("L", "RGB"):
        if "transparency" not in image.info:
            return image
        image = image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        # Scanners keep 10 or 12 bits in 16: the brightest pixel is white, whatever the depth.
        lowest, highest = image.convert("F").getextrema()
        low, high = min(0.0, float(lowest)), float(highest)  # type: ignore[arg-type]
        if not high > low:
            return Image.new("L", image.size, 255)
        return image.convert("F").point(lambda value: (value - low) * (255.0 / (high - low))).convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        colours = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(colours, mask=colours.getchannel("A"))
        return paper
    return image.convert("RGB")


def encode_png(image: "Image.Image", limits: RenderLimits) -> bytes:
    """PNG of an L or RGB image, gray where it holds no colour: a third of the bytes and of the time.

    Compression level 1: level 6 takes half as long again for no smaller a page of text. Halved in size while larger
    than `max_page_bytes`.
    """
    from PIL import ImageChops  # noqa: PLC0415

    if image.mode == "RGB":
        red, green, blue = image.split()
        if not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox():
            image = green
    while True:
        png = io.BytesIO()
        image.save(png, "PNG", compress_level=1)
        if png.tell() <= limits.max_page_bytes:
            return png.getvalue()
        if max(image.size) == 1:
            raise DocumentError(DocumentReason.PAGE_TOO_LARGE, "The page is too large to be read.")
        image = image.reduce(2)


def check_pages(pages: int, limits: RenderLimits) -> None:
    if pages < 1:
        raise DocumentError(DocumentReason.FILE_CORRUPT, "The document has no pages.")
    if pages > limits.max_pages:
        raise DocumentError(
            DocumentReason.TOO_MANY_PAGES,
            f"The document has more than {limits.max_pages} pages. Split it and upload the parts.",
        )


def corrupt(what: str) -> DocumentError:
    return DocumentError(
        DocumentReason.FILE_CORRUPT,
        f"The {what} is damaged and cannot be read. Save or export it again, then upload it.",
    )
