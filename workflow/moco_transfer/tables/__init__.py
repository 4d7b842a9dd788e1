"""The paper's tables 1 to 3 and the table of its claims, and their rendering as CSV, Markdown, LaTeX and HTML."""
