"""The way in to `materials`. Imports take a moment, so they are behind a guard: Ctrl-C meanwhile ends the process without a word."""

import os
import signal


def main() -> None:
    """Runs the command line."""
    # A process that is to ignore Ctrl-C (nohup, a background job of sh) goes on ignoring it.
    guarded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if guarded:
        # No KeyboardInterrupt: modules written in C may swallow it, or print it and go on.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from materials_cli import application  # noqa: PLC0415 - see above

    if guarded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    application.main()


if __name__ == "__main__":
    main()
