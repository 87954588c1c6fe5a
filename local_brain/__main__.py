"""`python -m local_brain`: the composition root."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from local_brain.embedding import MODEL_DIMENSIONS
from local_brain.llm_relay import LlmRelay, relay_settings
from local_brain.models import Models
from local_brain.server import BrainApi

DEFAULT_DIMENSIONS = 1024
# pgvector stores at most this many numbers in a vector.
MAX_DIMENSIONS = 16_000


def main() -> None:
    """Serves until SIGTERM or SIGINT; exits with 2 and a sentence on bad settings or a port in use."""
    arguments = _arguments()
    logging.basicConfig(
        level=arguments.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    # Until the server takes over, and after it has stopped: leave at once. A thread in the middle of a page cannot be
    # interrupted, and nothing here needs saving.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    # Its lines repeat what the application logs, at debug level with more than belongs into a log.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    listener = _bind(arguments.host, arguments.port)
    models = Models(dimensions=arguments.dimensions)
    models.load()
    host, port = listener.getsockname()[:2]
    logging.getLogger("local_brain").info("listening on %s:%d", host, port)
    config = uvicorn.Config(
        BrainApi(models, LlmRelay(arguments.relay) if arguments.relay else None).app(),
        http="h11",
        ws="none",
        # Embedding requests carry text of documents in their URL, which no log may show.
        access_log=False,
        log_config=None,
        # Errors are answered and logged by the application; the port is bound above.
        log_level="critical",
        limit_concurrency=512,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _leave(_: int, __: FrameType | None) -> None:
    os._exit(0)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=256, family=_family(host))
    except OSError as error:
        sys.exit(f"local_brain: cannot listen on {host}:{port}: {error.strerror or error}. Choose another --port.")


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return socket.AF_INET


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local_brain",
        description="A local AI Brain: reads pages (OCR), embeds text and answers from the context it is given, on CPU.",
        epilog="Environment: EMBEDDING_DIMENSIONS (1024), numbers in an embedding, of which the model gives "
        f"{MODEL_DIMENSIONS} and the rest are zeros; LOG_LEVEL (INFO). To have prompts answered by a language model rather than "
        "with sentences of their context: LOCAL_BRAIN_LLM_URL, any endpoint that speaks OpenAI's chat format, such as Ollama "
        "(http://localhost:11434), vLLM or llama.cpp; /v1/chat/completions is added, or /chat/completions to a URL that ends in /v1. "
        "LOCAL_BRAIN_LLM_MODEL, the model's name there (required with the URL); LOCAL_BRAIN_LLM_KEY, sent as bearer token (none); "
        "LOCAL_BRAIN_LLM_SECONDS, how long a reply may take (120). Pages and embeddings stay on this machine; prompts, with the "
        "passages in them, go to that endpoint.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="port to listen on, 0 for a free one (%(default)s)")
    arguments = parser.parse_args()
    dimensions = os.environ.get("EMBEDDING_DIMENSIONS", str(DEFAULT_DIMENSIONS))
    if not dimensions.isdecimal() or not MODEL_DIMENSIONS <= int(dimensions) <= MAX_DIMENSIONS:
        parser.error(
            f"EMBEDDING_DIMENSIONS is {dimensions!r}; the local model gives {MODEL_DIMENSIONS} numbers, "
            f"so set it to {MODEL_DIMENSIONS} or more (at most {MAX_DIMENSIONS})"
        )
    arguments.dimensions = int(dimensions)
    arguments.log_level = os.environ.get("LOG_LEVEL", "INFO").upper()
    if arguments.log_level not in logging.getLevelNamesMapping():
        parser.error(f"LOG_LEVEL is {arguments.log_level!r}; use DEBUG, INFO, WARNING, ERROR or CRITICAL")
    try:
        arguments.relay = relay_settings(os.environ)
    except ValueError as error:
        parser.error(str(error))
    return arguments


if __name__ == "__main__":
    main()
