"""Images with captions in COCO's format: annotations, pictures, encoders and their features, the vocabulary."""
