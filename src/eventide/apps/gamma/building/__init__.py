"""From triggers of single telescopes to array events: who saw the same shower, by event time."""
