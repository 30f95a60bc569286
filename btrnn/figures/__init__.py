"""All drawing, in one style, from data frames and arrays to figure files: lines, pictures, one drawing. No torch."""
