"""What every distillation method must satisfy, checked by `railkd check-method`."""
