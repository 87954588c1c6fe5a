"""An uploaded PDF as pages: the text that a page has, or its picture drawn by PDFium. Runs in the rendering child only.

A page gives its text when `text_layer_check` finds nothing against it; it is then not drawn at all. PDFium draws what a page shows and nothing else happens:
scripts and actions need a form environment, which is never made, and nothing outside the file is ever fetched. The library is imported where it is used, as in
`document_pages`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from processor_service.documents.document_pages import (
    DocumentError,
    DocumentReason,
    RenderLimits,
    check_pages,
    corrupt,
    encode_png,
    fit_scale,
    flatten,
)
from processor_service.documents.pdf_objects import PageObjects, read_objects
from processor_service.documents.pdf_text import read_characters
from processor_service.documents.text_layer_check import LayerFacts, Verdict, judge
from processor_service.documents.text_layout import page_text
from processor_service.documents.text_mending import mend
from processor_service.documents.upright import for_reading

if TYPE_CHECKING:
    import pypdfium2

#: A page with more of its area under images is a scan, and may lie askew.
SCAN_SHARE = 0.5
#: Images of these kinds are unpacked whole before they are drawn, all others line by line. With the least number of bits that a pixel then takes.
UNPACKED_WHOLE = {"JPXDecode": 8, "JBIG2Decode": 1}


class PdfPages:
    """Raises DocumentError: FILE_ENCRYPTED, FILE_CORRUPT, TOO_MANY_PAGES; `render` also PAGE_TOO_LARGE."""

    def __init__(self, path: str, limits: RenderLimits) -> None:
        import pypdfium2  # noqa: PLC0415
        from pypdfium2 import raw  # noqa: PLC0415

        self._limits = limits
        try:
            self._document = pypdfium2.PdfDocument(path)  # also tries the empty user password
        except pypdfium2.PdfiumError as error:
            if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
                raise DocumentError(
                    DocumentReason.FILE_ENCRYPTED,
                    "The PDF is protected by a password. Remove the protection and upload it again.",
                ) from error
            raise corrupt("PDF") from error
        self.pages = len(self._document)
        check_pages(self.pages, limits)

    def render(self, page: int) -> bytes | str:
        """The page's text where that is good, else a PNG of the page."""
        import pypdfium2  # noqa: PLC0415

        try:
            loaded = self._document[page]
        except pypdfium2.PdfiumError as error:
            raise corrupt("page") from error
        try:
            width, height = loaded.get_size()
            if not (0 < width < math.inf and 0 < height < math.inf):
                raise corrupt("page")
            objects = _objects(loaded)
            if self._limits.text_layers and (text := good_text(loaded, objects)) is not None:
                return text
            self._check_images(loaded)
            bitmap = loaded.render(scale=fit_scale(width, height, self._limits.max_page_pixels))
            try:
                picture = bitmap.to_pil()
            finally:
                bitmap.close()
            if objects.image_share > SCAN_SHARE:
                picture = for_reading(flatten(picture), self._limits.max_page_pixels)
            return encode_png(picture, self._limits)
        finally:
            loaded.close()

    def _check_images(self, page: pypdfium2.PdfPage) -> None:
        """PDFium leaves out what does not fit into memory, and the page would be read as if there had been nothing."""
        from pypdfium2 import raw  # noqa: PLC0415

        for image in page.get_objects([raw.FPDF_PAGEOBJ_IMAGE]):
            bits = max((UNPACKED_WHOLE.get(name, 0) for name in image.get_filters()), default=0)
            width, height = image.get_px_size()
            if width * height * bits > self._limits.max_source_pixels * 8:
                raise DocumentError(
                    DocumentReason.PAGE_TOO_LARGE,
                    "The page holds an image that is too large to be drawn. Scale it down and upload the file again.",
                )


def _objects(page: pypdfium2.PdfPage) -> PageObjects:
    """What the page shows beside text; a page that cannot be looked through counts as an image."""
    try:
        return read_objects(page)
    except Exception:  # it can still be drawn
        return PageObjects(image_share=1.0, covered=False, shapes=0, annotated=False, rules=(), grounds=None)


def good_text(page: pypdfium2.PdfPage, objects: PageObjects) -> str | None:
    """The page's own text in reading order; None where anything speaks against it."""
    try:
        characters = read_characters(page, objects.grounds)
        text = mend(page_text(characters.glyphs, objects.rules))
    except Exception:  # whatever a file's letters may do, its pages can still be drawn
        return None
    facts = LayerFacts(
        text=text,
        chars=characters.chars,
        unmapped=characters.unmapped,
        invisible=characters.invisible,
        downwards=characters.downwards,
        image_share=objects.image_share,
        covered=objects.covered,
        shapes=objects.shapes,
        annotated=objects.annotated,
    )
    return text if judge(facts) is Verdict.GOOD else None
