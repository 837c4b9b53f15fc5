"""`python -m ptft` is the `ptft` command."""

from ptft.cli import main

main()
