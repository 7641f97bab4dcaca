"""The parts of docs/reference/ that follow from the code. `python -m docs.generate` writes them, `--check` compares them."""
