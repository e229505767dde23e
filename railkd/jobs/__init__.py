"""The jobs of the workflow, as functions: prepare a task, fine-tune a teacher, distil a student."""
