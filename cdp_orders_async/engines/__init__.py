"""Other ways to load than the requests of this process: the same input, the same outcomes, the same journal."""
