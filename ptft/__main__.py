"""`python -m ptft` is the `ptft` command."""

from ptft.cli import main

if __name__ == "__main__":
    main()
