"""Pre-trains the miniature backbones as masked language models."""
