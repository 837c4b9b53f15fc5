"""What predicting and embedding new files share: what is asked for, in which turn, and what is kept of it."""
