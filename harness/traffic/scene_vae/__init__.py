"""A variational autoencoder of traffic scenes, whose latents say which recorded windows a simulated one is like."""
