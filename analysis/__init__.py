"""Says what the runs mean: it reads run records, writes tables, figures and a report, and trains nothing."""
