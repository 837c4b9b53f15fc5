"""Documents and conversations that are told apart, by themselves or several in a row of a batch."""
