"""Other people's interfaces, on parpool's public names."""
