"""Figures and tables: what all of them share. Their own drawing is in workflow/scripts."""
