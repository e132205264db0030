"""Side information of items (tags, fields, a knowledge graph) as finished feature vectors."""
