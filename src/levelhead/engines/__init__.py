"""The engines Levelhead drives, one folder each; they know the model, not the thinking, and not each other."""
