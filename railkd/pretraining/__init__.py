"""Pre-trains before any task: miniature backbones as masked language models, students by general distillation."""
