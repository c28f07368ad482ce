"""The recipe: its schema, its YAML, its overrides."""
