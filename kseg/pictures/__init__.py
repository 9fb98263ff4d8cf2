"""What a person looks at: drawings of cases, and curves, on files or in memory."""
