"""The core in this process: its library found and loaded, started and ended once for all
copies of the extension."""
