"""Knowledge distillation of Transformer encoders: how one run is done."""

__version__ = "0.1.0"
