"""Checks what every distillation method must satisfy, for `railkd check-method`."""
