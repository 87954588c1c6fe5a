"""The process that rendering children are forked from: `python -m processor_service.documents.render_forkserver`, started by `forkserver`.

Starting Python and the libraries takes a hundred times as long as reading a small picture. Here it is done once: this process imports them, opens no document
ever, holds nothing worth stealing either, and has one thread, so that it can be forked. Each child still has one document, an address space of its own and
`render_child`'s limits; what children share is where the libraries lie in memory.

Protocol, on the standard input, a Unix stream socket: messages of `FRAME`, a kind and a child's number, which the parent chooses, and a value.
    FORK  number  0       with the child's end of its own connection attached    ->  FORKED  number  pid
    KILL  number  0       SIGKILL; a child that has ended meanwhile is passed over
                                                                                 <-  ENDED   number  exit status, or minus the signal
It ends at the end of its input and with its parent, and its children with it.
"""

import gc
import importlib
import os
import selectors
import signal
import socket
import struct
from contextlib import suppress

from processor_service.documents import render_child

FRAME = struct.Struct(">Bii")
FORK, KILL, FORKED, ENDED = range(4)
#: What children import while they read, pictures and PDFs.
LIBRARIES = (
    *("PIL.Image", "PIL.ImageChops", "PIL.ImageFilter", "PIL.ImageOps"),
    *("PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.WebPImagePlugin", "PIL.TiffImagePlugin"),
    *("numpy", "pypdfium2", "processor_service.documents.pdf_pages"),
)


class Forkserver:
    """Forks and reaps. `control` is the connection to the parent."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._numbers: dict[int, int] = {}  # of the children that live, by pid
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake)

    def serve(self) -> None:
        """Until the parent closes its end."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._control, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while True:
                chosen = {key.fileobj for key, _ in ready.select()}
                if self._woken in chosen:
                    os.read(self._woken, 4096)
                    self._reap()
                if self._control in chosen and not self._heed():
                    return

    def _heed(self) -> bool:
        """Does what one message says; False at the end of input."""
        message, connections, _, _ = socket.recv_fds(self._control, FRAME.size, 1)
        if not message:
            return False
        kind, number, _ = FRAME.unpack(message)
        if kind == FORK:
            [connection] = connections
            self._fork(number, connection)
        elif kind == KILL:
            for pid, known in self._numbers.items():
                if known == number:
                    os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still the child's
        return True

    def _fork(self, number: int, connection: int) -> None:
        pid = os.fork()
        if pid:
            os.close(connection)
            self._numbers[pid] = number
            self._control.sendall(FRAME.pack(FORKED, number, pid))
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            for descriptor in (self._woken, self._wake):
                os.close(descriptor)
            os.dup2(connection, 0)
            os.dup2(connection, 1)
            os.close(connection)
            render_child.main()
            status = 0
        finally:
            os._exit(status)  # nothing of the parent's is to be tidied up here

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                number = self._numbers.pop(pid)
                self._control.sendall(FRAME.pack(ENDED, number, os.waitstatus_to_exitcode(status)))


def rehearse() -> None:
    """Prepares a picture of our own, a level one and one askew: what libraries do at first use only is done here, once."""
    from PIL import Image  # noqa: PLC0415

    from processor_service.documents.document_pages import RenderLimits, encode_png  # noqa: PLC0415
    from processor_service.documents.upright import for_reading  # noqa: PLC0415

    Image.preinit()
    stripes = Image.frombytes(
        "L", (240, 240), bytes(0 if row % 16 < 4 else 255 for row in range(240) for _ in range(240))
    )
    for picture in (stripes, stripes.rotate(5, expand=True, fillcolor=255)):
        encode_png(for_reading(picture, picture.width * picture.height * 4), RenderLimits())


def main() -> None:
    render_child.die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # as the children, see there
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads would not survive a fork
    for library in LIBRARIES:
        importlib.import_module(library)
    rehearse()
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy all that it shares
    with socket.socket(fileno=os.dup(0)) as control, suppress(ConnectionError):
        Forkserver(control).serve()


if __name__ == "__main__":
    main()
