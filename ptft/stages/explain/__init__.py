"""Why a model answers what it does, and whether that explanation means anything."""
