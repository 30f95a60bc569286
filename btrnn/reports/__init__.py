"""What is shown: pages of Markdown from templates, with figures, of the published rows and of a user's own.

`page` and `view` are what the pages of all tasks share, `pages` says which page shows which experiment;
`writing` writes them; `publishing` takes a user's rows over into the published ones.
"""
