"""Writes the report as Markdown and HTML, says where its runs came from, and compares two results."""
