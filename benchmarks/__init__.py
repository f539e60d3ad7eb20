"""Paired timings of the pipeline against the original study's algorithm. Not tests, and part of no stage."""
