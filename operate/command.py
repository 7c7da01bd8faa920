"""Ends a command as shells expect, without a traceback."""

import codecs
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from operate.config import OperatorError


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with a command's code, 130 after Ctrl-C, 141 if nobody reads its output, or a sentence if it fails.

    It can print the name of any file, in UTF-8 as the very bytes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    try:
        try:
            code = main()
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        code = 128 + signal.SIGINT
    except OperatorError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        code = 128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else 1
        if code == 1:
            print(f"{error.filename or 'Standard output'}: {error.strerror}.", file=sys.stderr)
        if not error.filename:
            # Python would try again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
