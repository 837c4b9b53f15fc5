"""Any map-style torch Dataset of the user, as a source."""
