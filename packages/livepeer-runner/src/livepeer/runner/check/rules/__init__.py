"""What is looked for in a pipeline's source, one file for each subject."""
