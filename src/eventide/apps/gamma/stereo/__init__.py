"""From the images of several telescopes to the direction, the place and the height of a shower."""
