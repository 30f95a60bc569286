"""The paper's claims beside what was found here: texts (claims.toml), rules, counted, measured, and the page."""
