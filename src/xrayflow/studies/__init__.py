"""MANY SPECTRA: what an archive says of itself, and whether answers are right where the truth is known.

`catalogue` reads and fits many spectra, `validation` compares draws with what is known; the second imports the first.
"""
