"""Images that a list, folders or the rows of a table name, of any kind and size."""
