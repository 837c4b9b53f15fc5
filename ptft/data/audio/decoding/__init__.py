"""How files of sound are opened: by which libraries, and what of theirs has to be known."""
