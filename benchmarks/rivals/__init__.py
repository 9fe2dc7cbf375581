"""Other ways to do the same work, as their own manuals tell, with mutual TLS where we have CURVE.

They are measured where they are installed and left out with a word where they are not.
"""
