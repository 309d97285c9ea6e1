"""MANY SPECTRA: what an archive says of itself, and whether answers are right where the truth is known.

`running` is the one way to run many spectra; `catalogue` makes a table of their posteriors with it, `targets` best fits
that networks learn from; `population` asks a table how a parameter is distributed; `validation` compares draws with
what is known. Each imports from those before it.
"""
