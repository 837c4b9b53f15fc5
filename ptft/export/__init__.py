"""What is trained as files that others read: one module a format, each with `write`, `usage` and what it `NEEDS`."""
