"""The `ptft` command."""
