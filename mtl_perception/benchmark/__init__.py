"""What `mtl benchmark` measures, a module a subject."""
