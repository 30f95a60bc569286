"""Files that are whole or not there: atomic replacement, locks between processes, and reading with clear errors."""
