"""What is shown: pages of Markdown from templates, with figures, of the published rows and of a user's own."""
