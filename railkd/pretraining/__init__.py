"""Masked-language-model pre-training of the miniature backbones."""
