"""How to cite, as BibTeX: what CITATION.cff says, for whoever has only the report."""

CITATION = """\
@software{xrayflow,
  title  = {xrayflow: from an X-ray spectrum file to a certified posterior, without HEASoft},
  author = {{The xrayflow developers}}
}
@unpublished{redmen_vae,
  title  = {Variational Autoencoder with Normalizing flow for X-ray spectral fitting},
  author = {Redmen, Fiona and Tregidga, Ethan and Steiner, James and Garraffo, Cecilia},
  note   = {The method that xrayflow builds on}
}
@inproceedings{arnaud_xspec,
  title  = {XSPEC: The First Ten Years},
  author = {Arnaud, Keith A.},
  year   = {1996},
  series = {ASP Conference Series 101},
  pages  = {17},
  note   = {Whose components, names and statistics these are}
}
"""
