"""From a resolved configuration to objects: components, and everything of a run in the one order that works."""
