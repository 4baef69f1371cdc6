//! Measuring against agents made of a script.
