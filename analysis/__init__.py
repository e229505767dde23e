"""What the runs mean: reads run records, writes the paper's tables and figures, and a report. Trains nothing."""
