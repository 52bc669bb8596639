"""What a trajectory says about a material: averages with bars, structure, diffusion, and the response to pressure and heat."""
