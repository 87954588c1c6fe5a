"""From the bytes of a file to the pictures of its pages, one at a time, so that memory holds one page.

Page pictures are arrays of shape (height, width, 3), 8 bits, blue-green-red as OpenCV and the OCR models want them.
PDFium and Pillow run in this process: PDFium is not thread-safe, so one thread reads all documents, one after the
other. A file that breaks PDFium takes this Brain down with it, which is a fault its callers are built for.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from threading import Event

import numpy as np
import numpy.typing as npt
import pypdfium2
from PIL import Image, ImageOps

PagePicture = npt.NDArray[np.uint8]

PDF_DPI = 300
# A4 at 600 DPI has 35 million pixels; a page of this size takes 240 MB while it is read.
MAX_PIXELS = 80_000_000
MAX_PAGES = 1_000
_IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


class UnreadableFileError(Exception):
    """The file cannot be read; the message says why, in words for the person who sent it."""


class AbandonedError(Exception):
    """The sender has gone: the pages that are left need not be read."""


def document_text(data: bytes, *, pdf: bool, read: Callable[[PagePicture], str], abandoned: Event) -> str:
    """The text of a PDF or picture, where `read` gives that of a page.

    A PDF, and a TIFF of several frames, gives its pages as `--- Page 1 ---\\n<text>`, parted by empty lines; any other
    picture gives its text alone, which is empty for a blank page. Raises `UnreadableFileError`, and `AbandonedError`
    before the next page once `abandoned` is set.
    """
    texts: list[str] = []
    for page in pdf_pages(data) if pdf else image_pages(data):
        if abandoned.is_set():
            raise AbandonedError
        texts.append(read(page))
    if not pdf and len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"--- Page {number} ---\n{text}" for number, text in enumerate(texts, start=1))


def is_pdf(content_type: str | None, filename: str | None) -> bool:
    """Whether the sender says that this is a PDF, by its content type or else by its name."""
    return (content_type or "").partition(";")[0].strip().lower() == "application/pdf" or (
        filename or ""
    ).lower().endswith(".pdf")


def pdf_pages(data: bytes) -> Iterator[PagePicture]:
    """Each page rendered at 300 DPI. Raises `UnreadableFileError`: broken, encrypted, too many or too large pages."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise UnreadableFileError("the PDF is encrypted and needs a password") from error
        raise UnreadableFileError("the file is not a PDF or is damaged") from error
    try:
        if len(document) > MAX_PAGES:
            raise UnreadableFileError(f"the PDF has {len(document)} pages; at most {MAX_PAGES} can be read")
        for number in range(len(document)):
            try:
                yield _rendered(document, number)
            except pypdfium2.PdfiumError as error:
                raise UnreadableFileError(f"page {number + 1} of the PDF is damaged") from error
    finally:
        document.close()


def _rendered(document: pypdfium2.PdfDocument, number: int) -> PagePicture:
    page = document[number]
    try:
        scale = PDF_DPI / 72
        width, height = page.get_size()
        _check_pixels(round(width * scale), round(height * scale), f"page {number + 1} at {PDF_DPI} DPI")
        bitmap = page.render(scale=scale, rev_byteorder=False, prefer_bgrx=False)
        try:
            return _three_channels(np.array(bitmap.to_numpy()))
        finally:
            bitmap.close()
    finally:
        page.close()


def image_pages(data: bytes) -> Iterator[PagePicture]:
    """The picture upright as its EXIF data says; each frame of a TIFF is a page. Raises `UnreadableFileError`."""
    try:
        with warnings.catch_warnings():
            # Pillow's own warning about large pictures: the check below refuses them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableFileError(f"the picture is larger than {MAX_PIXELS} pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableFileError(
            f"the file is not a picture in a known format ({', '.join(_IMAGE_FORMATS)})"
        ) from error
    with image:
        # The further frames of other formats are animations and thumbnails, not pages.
        frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if frames > MAX_PAGES:
            raise UnreadableFileError(f"the picture has {frames} pages; at most {MAX_PAGES} can be read")
        for number in range(frames):
            try:
                image.seek(number)
                _check_pixels(*image.size, f"page {number + 1}" if frames > 1 else "the picture")
                picture = _flattened(ImageOps.exif_transpose(image))
            except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
                raise UnreadableFileError("the picture is damaged or incomplete") from error
            yield picture


def _flattened(image: Image.Image) -> PagePicture:
    if image.mode.startswith("I;16"):
        # Pillow clips sixteen bits to eight, which turns a grey scan white.
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(paper, rgba)
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])


def _three_channels(picture: PagePicture) -> PagePicture:
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(picture[:, :, :3])


def _check_pixels(width: int, height: int, what: str) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableFileError(f"{what} has {width} x {height} pixels; at most {MAX_PIXELS} can be read")
