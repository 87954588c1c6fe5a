"""Reads the text on a page picture: finds the lines, turns the page upright, recognises each line.

RapidOCR's models are called one by one rather than all at once, for three reasons. Lines are found on a reduced page but
cut out of the full one, so that small print keeps its detail; each is cut out along its own slope, so a skewed page needs no
straightening. Which way up the page is, is decided for the page as a whole, since a single short line tells it badly. And the
paths of the models are given, so that nothing is ever looked for on a network.

What cannot be read right: the model has no inverted exclamation mark and no low quotation mark, and leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rapidocr
from PIL import Image, ImageDraw, ImageFont
from rapidocr.main import RapidOCRError
from rapidocr.utils.process_img import map_boxes_to_original

from local_brain.characters import typed
from local_brain.documents import PagePicture
from local_brain.layout import TextBox, reading_order, upside_down
from local_brain.line_ends import words_made_whole
from local_brain.line_recognition import LineRecogniser, RecognisedLine
from local_brain.orientation import Corners, is_sideways, quarter_turned, reading_corners

# Pixels of the longer side on which lines are looked for, and the least score of a line. RapidOCR's own 2000 and 0.5 take
# longer, find as many lines of small print, and miss single words on an empty page more often; a lower score finds words
# on blank paper. A page's only word may still be missed when it is small: the model needs some text to see a line.
_DETECTION_SIDE = 1280
_LINE_SCORE = 0.35
# Lines of which the orientation is asked: the widest tell it surest.
_ORIENTATION_LINES = 16
# The detector cuts full stops off: a line is taken longer than its box by this share of its height, at either end.
_SPARE_LENGTH = 0.1
# A text of which the model is less sure is none.
_TEXT_SCORE = 0.5
# A box this many times as high as wide, on a page that is upright, is a line that runs up or down (a label of a figure).
_UPRIGHT_LINE = 2.0


class PageReader:
    """The OCR models, loaded. Not for use by two threads at once."""

    def __init__(self, *, threads: int) -> None:
        models = Path(rapidocr.__file__).parent / "models"
        cv2.setNumThreads(threads)
        engine = rapidocr.RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.max_side_len": _DETECTION_SIDE,
                "Det.box_thresh": _LINE_SCORE,
                "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
                "Cls.model_path": str(models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
                "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        self._engine = engine
        self._lines = LineRecogniser(engine._load_rec_model())  # type: ignore[no-untyped-call]

    def warm_up(self) -> None:
        """Reads a word, since each model is loaded by its first use. Raises RuntimeError when it is not read."""
        page = Image.new("RGB", (320, 96), "white")
        ImageDraw.Draw(page).text((40, 24), "ready", fill="black", font=ImageFont.load_default(40))
        if (text := self.read(np.asarray(page))) != "ready":
            raise RuntimeError(f"the OCR models read {text!r} where it says 'ready'")

    def read(self, page: PagePicture) -> str:
        """The page's text in reading order; empty when there is none."""
        corners = self._found(page)
        if is_sideways(corners):
            corners = quarter_turned(corners, page.shape[1])
            page = np.ascontiguousarray(np.rot90(page))
        corners = reading_corners(corners)
        lines = [_cut_out(page, quad) for quad in corners]
        flipped = self._is_upside_down(lines)
        if flipped:
            lines = [_turned(line, 2) for line in lines]
        boxes = [
            _text_box(typed(line.text), quad)
            for line, quad in zip(map(self._recognised, lines), corners, strict=True)
            if line.text and line.score >= _TEXT_SCORE
        ]
        height, width = page.shape[:2]
        text = reading_order(upside_down(boxes, width, height) if flipped else boxes)
        return "\n".join(words_made_whole(text.split("\n")))

    def _found(self, page: PagePicture) -> Corners:
        """The corners of the page's lines."""
        height, width = page.shape[:2]
        try:
            reduced, record = self._engine.preprocess_img(page)
            _, found = self._engine.detect_and_crop(reduced, record)
        except RapidOCRError:  # no line on the page
            return np.empty((0, 4, 2), np.float32)
        return np.asarray(map_boxes_to_original(np.asarray(found.boxes), record, height, width), dtype=np.float32)

    def _is_upside_down(self, lines: Sequence[PagePicture]) -> bool:
        widest = sorted(lines, key=lambda line: line.shape[1], reverse=True)[:_ORIENTATION_LINES]
        if not widest:
            return False
        _, judged = self._engine.cls_and_rotate(widest)
        turned = sum("180" in label for label, _ in judged.cls_res or ())
        return turned > len(widest) / 2

    def _recognised(self, line: PagePicture) -> RecognisedLine:
        """The line's text; one that runs up or down is read both ways, and the surer reading is taken."""
        if line.shape[0] < _UPRIGHT_LINE * line.shape[1]:
            return self._lines.read(line)
        upwards, downwards = (self._lines.read(_turned(line, quarters)) for quarters in (3, 1))
        return upwards if upwards.score >= downwards.score else downwards


def _turned(picture: PagePicture, quarters: int) -> PagePicture:
    return np.ascontiguousarray(np.rot90(picture, quarters))


def _cut_out(page: PagePicture, quad: npt.NDArray[np.float32]) -> PagePicture:
    """The box with these corners (as `reading_corners` gives them), made straight, and a little longer at both ends."""
    along = (quad[1] - quad[0] + quad[2] - quad[3]) / 2
    length = max(1.0, float(np.hypot(*along)))
    height = max(1, round(float(max(np.hypot(*(quad[3] - quad[0])), np.hypot(*(quad[2] - quad[1]))))))
    spare = along / length * height * _SPARE_LENGTH
    quad = (quad + np.array([-spare, spare, spare, -spare])).astype(np.float32)
    width = max(1, round(length + 2 * height * _SPARE_LENGTH))
    straight = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(quad, straight)
    cut = cv2.warpPerspective(page, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, dtype=np.uint8)


def _text_box(text: str, quad: npt.NDArray[np.float32]) -> TextBox:
    """`quad` has shape (4, 2): top left, top right, bottom right, bottom left."""
    along = (quad[1] - quad[0] + quad[2] - quad[3]) / 2
    across = (quad[3] - quad[0] + quad[2] - quad[1]) / 2
    x, y = quad.mean(axis=0)
    return TextBox(
        text=text,
        x=float(x),
        y=float(y),
        width=float(np.hypot(*along)),
        height=max(1.0, float(np.hypot(*across))),
        slope=float(along[1] / along[0]) if along[0] > 0 else 0.0,
    )
