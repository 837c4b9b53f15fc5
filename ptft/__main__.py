"""`python -m ptft` is the `ptft` command."""

from ptft.cli.main import entry

if __name__ == "__main__":
    entry()
