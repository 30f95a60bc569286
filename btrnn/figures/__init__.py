"""All drawing: one module a task, in one style, from data frames and arrays to figure files. No torch."""
