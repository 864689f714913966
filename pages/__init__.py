"""Makes pages: those of docs/ that are made of the code, and the site of all of them."""
