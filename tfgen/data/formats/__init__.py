"""How bytes become images, one format each."""
