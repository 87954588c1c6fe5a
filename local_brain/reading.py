"""Reads the text on a page picture: finds the lines, turns the page upright, recognises each line.

RapidOCR's stages are called one by one rather than all at once, for three reasons. Lines are found on a reduced page but
cut out of the full one, so that small print keeps its detail. Whether a line stands on its head is decided for the page
as a whole, since the classifier errs on single short lines. And the paths of the models are given, so that nothing is
ever looked for on a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rapidocr
from PIL import Image, ImageDraw, ImageFont
from rapidocr.main import RapidOCRError
from rapidocr.utils.process_img import map_boxes_to_original

from local_brain.documents import PagePicture
from local_brain.layout import TextBox, reading_order, upside_down

# Pixels of the longer side on which lines are looked for, and the least score of a line. RapidOCR's own 2000 and 0.5 take
# longer, find as many lines of small print, and miss single words on an empty page more often; a lower score finds words
# on blank paper. A page's only word may still be missed when it is small: the model needs some text to see a line.
_DETECTION_SIDE = 1280
_LINE_SCORE = 0.35
# Lines of which the orientation is asked: the widest tell it surest.
_ORIENTATION_LINES = 16


class PageReader:
    """The OCR models, loaded. Not for use by two threads at once."""

    def __init__(self, *, threads: int) -> None:
        models = Path(rapidocr.__file__).parent / "models"
        cv2.setNumThreads(threads)
        self._engine = rapidocr.RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.max_side_len": _DETECTION_SIDE,
                "Det.box_thresh": _LINE_SCORE,
                # Lines recognised together: more take more memory, and no less time.
                "Rec.rec_batch_num": 2,
                "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
                "Cls.model_path": str(models / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
                "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def warm_up(self) -> None:
        """Reads a word, since each model is loaded by its first use. Raises RuntimeError when it is not read."""
        page = Image.new("RGB", (320, 96), "white")
        ImageDraw.Draw(page).text((40, 24), "ready", fill="black", font=ImageFont.load_default(40))
        if (text := self.read(np.asarray(page))) != "ready":
            raise RuntimeError(f"the OCR models read {text!r} where it says 'ready'")

    def read(self, page: PagePicture) -> str:
        """The page's text in reading order; empty when there is none."""
        height, width = page.shape[:2]
        try:
            reduced, record = self._engine.preprocess_img(page)
            _, found = self._engine.detect_and_crop(reduced, record)
        except RapidOCRError:  # no line on the page
            return ""
        assert found.boxes is not None
        corners = map_boxes_to_original(found.boxes, record, height, width).astype(np.float32)
        crops = self._engine.crop_text_regions(page, corners)
        flipped = self._is_upside_down(crops)
        if flipped:
            crops = [np.ascontiguousarray(np.rot90(crop, 2)) for crop in crops]
        recognised = self._engine.recognize_txt(crops)
        boxes = [
            _text_box(text.strip(), quad)
            for text, score, quad in zip(recognised.txts or (), recognised.scores or (), corners, strict=True)
            if text.strip() and score >= self._engine.text_score
        ]
        return reading_order(upside_down(boxes, width, height) if flipped else boxes)

    def _is_upside_down(self, crops: list[PagePicture]) -> bool:
        widest = sorted(crops, key=lambda crop: crop.shape[1], reverse=True)[:_ORIENTATION_LINES]
        _, judged = self._engine.cls_and_rotate(widest)
        turned = sum("180" in label for label, _ in judged.cls_res or ())
        return turned > len(widest) / 2


def _text_box(text: str, quad: Any) -> TextBox:
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
