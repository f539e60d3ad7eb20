"""The library of the pipeline: it imports no stage and knows no path."""
