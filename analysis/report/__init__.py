"""The report as Markdown and HTML, where its runs came from, and the comparison of two results."""
