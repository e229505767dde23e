"""How a trained model is scored, and how it agrees with its teacher."""
