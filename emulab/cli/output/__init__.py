"""What is printed: tables, texts and diagrams, most of them pure functions; `outlet` is the way out."""
