"""What is shown of each task's results: one module a task, from committed tables to Markdown and figures.

Each has `table_texts`, `figure_files`, `readme_part` and `terminal_report`; `experiments/report.py` writes what they
give.
"""
