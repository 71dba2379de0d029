"""The launcher behind `make run`. Tests and the benchmark start LNbits with it too."""
