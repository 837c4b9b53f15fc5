"""`python -m ptft` is the `ptft` command, and like it does not import what lies in the folder the user stands in."""

import os
import sys

if __name__ == "__main__":
    if sys.path and sys.path[0] == os.getcwd():
        del sys.path[0]
    from ptft.cli.main import entry

    entry()
