"""Pictures and recordings in the tables of Hugging Face's library `datasets`: cells in the place of files."""
