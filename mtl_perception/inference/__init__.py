"""From an image to maps, and what runs the network."""
