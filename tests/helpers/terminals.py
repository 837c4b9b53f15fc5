"""A terminal of so many columns and 30 lines in the place of standard output."""

import fcntl
import os
import pty
import struct
import sys
import termios
import threading


def sent(ptft, monkeypatch, columns, *arguments):
    """What the terminal is sent by a command that ends with 0."""
    main, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    pieces = []

    def read():
        try:
            while data := os.read(main, 65536):
                pieces.append(data)
        except OSError:
            return

    thread = threading.Thread(target=read)
    thread.start()
    with monkeypatch.context() as patched, open(child, "w", encoding="utf-8") as stream:
        for name, value in (("TERM", "xterm"), ("COLUMNS", str(columns)), ("LINES", "30")):
            patched.setenv(name, value)
        patched.setattr(sys, "stdout", stream)
        done = ptft(*arguments)
    thread.join()
    os.close(main)
    assert done.code == 0, done.text
    return b"".join(pieces).decode().replace("\r\n", "\n")
