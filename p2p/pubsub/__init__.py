"""Topics: publications in order, what was lost of them, and getting it back."""
