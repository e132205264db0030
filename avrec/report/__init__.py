"""What people read after a run: tables, figures and the file of its numbers."""
