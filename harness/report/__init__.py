"""Tables, curves and playback: what a person looks at after a run."""
