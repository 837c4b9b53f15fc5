"""The process and the machine it runs on: device, random generators, precision, signals, paths."""
