"""The core in this process: found, loaded, started and stopped, once for all copies of
the extension."""
