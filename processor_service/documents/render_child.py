"""The process that opens one uploaded document: `python -m processor_service.documents.render_child`, started by `rendering`.

Documents are hostile, and the libraries that parse them are C and C++. So this process holds nothing worth stealing,
binds itself before it touches the file (memory, CPU, open files, no file growth, no core dump, no new privileges), and
may be killed at any time. It dies with its parent: at the end of its standard input, and by signal on Linux.

Protocol, on the standard input and what was the standard output at start: each message is the length of a JSON header
and the length of a body (two big-endian 32-bit numbers), the header, the body. Requests have no body:
    {"call": "open", "path": str, "media_type": str, "limits": {...}, "cpu_seconds": int}   ->  {"pages": int}
    {"call": "render", "page": int, "cpu_seconds": int}                  ->  {"kind": "png" | "text"}, body
A reply may be {"error": {"reason", "message", "permanent"}} instead; each has "cpu_seconds", what the call has cost.
Libraries that print reach the standard error only.

Pages are `document_pages` and `pdf_pages`.
"""

import ctypes
import json
import math
import os
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from processor_service.documents.document_pages import (
    IMAGE_FORMATS,
    PDF_TYPE,
    TEXT_TYPES,
    Document,
    DocumentError,
    DocumentReason,
    ImagePages,
    RenderLimits,
    TextPages,
    corrupt,
)
from processor_service.documents.pdf_pages import PdfPages

FRAME = struct.Struct(">II")
MAX_HEADER_BYTES = 64 * 1024


def confine(limits: RenderLimits) -> None:
    """Binds this process for good. Imports that are still to come need a few open files; PDFium needs one."""
    # Signals tell the parent what happened: Python would turn this one into an error of a write.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    for kind, amount in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (amount, amount))


def cpu_used() -> float:
    """Seconds of CPU time that this process has had."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def allow_cpu(seconds: int) -> None:
    """`seconds` more of CPU time; the kernel then sends SIGXCPU, which ends the process."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu_used()) + seconds, resource.RLIM_INFINITY))


def die_with_parent() -> None:
    """SIGKILL when the parent's thread that started this process ends, and no new privileges (Linux prctl(2))."""
    if not sys.platform.startswith("linux"):
        return
    set_death_signal, set_no_new_privileges = 1, 38
    libc = ctypes.CDLL(None)
    libc.prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)
    libc.prctl(set_no_new_privileges, 1, 0, 0, 0)


def open_document(path: str, media_type: str, limits: RenderLimits) -> Document:
    """The document as pages, by its media type. Raises DocumentError, and whatever the libraries raise."""
    if media_type == PDF_TYPE:
        return PdfPages(path, limits)
    if media_type in IMAGE_FORMATS:
        return ImagePages(path, media_type, limits)
    if media_type in TEXT_TYPES:
        return TextPages(path, limits)
    raise DocumentError(DocumentReason.FILE_UNSUPPORTED, "Files of this type cannot be read.")


def answer(request: dict[str, Any], document: Document | None) -> tuple[Document, dict[str, Any], bytes]:
    """The document, the reply's header and its body. Raises whatever the libraries raise."""
    if request["call"] == "open":
        limits = RenderLimits(**request["limits"])
        confine(limits)
        allow_cpu(int(request["cpu_seconds"]))
        opened = open_document(request["path"], request["media_type"], limits)
        return opened, {"pages": opened.pages}, b""
    assert document is not None, "the first call is open"
    allow_cpu(int(request["cpu_seconds"]))
    page = document.render(request["page"])
    if isinstance(page, str):
        return document, {"kind": "text"}, page.encode()
    return document, {"kind": "png"}, page


def explain(error: Exception) -> DocumentError:
    """What an exception of a library means for the document. Its own text stays here: it may quote paths or content."""
    if isinstance(error, DocumentError):
        return error
    if isinstance(error, ImportError):
        raise error  # our own installation is broken: die, rather than blame the document
    if isinstance(error, MemoryError):
        return DocumentError(
            DocumentReason.RENDERING_OUT_OF_MEMORY, "The page needs more memory to be drawn than is allowed."
        )
    return corrupt("file")


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers until the parent closes its end."""
    document: Document | None = None
    before = 0.0
    while len(lengths := requests.read(FRAME.size)) == FRAME.size:
        header_bytes, _ = FRAME.unpack(lengths)
        request = json.loads(requests.read(header_bytes))
        body = b""
        try:
            document, header, body = answer(request, document)
        except Exception as error:  # a parser of hostile bytes may raise anything; the parent learns what it means
            problem = explain(error)
            header = {"error": {"reason": problem.reason, "message": problem.message, "permanent": problem.permanent}}
        used = cpu_used()
        header["cpu_seconds"], before = used - before, used
        encoded = json.dumps(header).encode()
        replies.write(FRAME.pack(len(encoded), len(body)) + encoded)
        replies.write(body)
        replies.flush()


def main() -> None:
    die_with_parent()
    # What is sent to the whole process group is for the parent: it hands its work back, and then ends us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with os.fdopen(0, "rb") as requests, replies:
        serve(requests, replies)


if __name__ == "__main__":
    main()
