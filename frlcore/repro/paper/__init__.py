"""The paper: its data sets and methods, which runs it needs, and from their records tables, figures and verdicts."""
