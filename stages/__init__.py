"""The pipeline's stages: thin scripts over the library in `stages.qa`, run as `python -m stages.<name>`."""
