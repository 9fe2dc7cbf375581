"""One module a subject; each declares its functions with `benchmarks.figures.measures`."""
