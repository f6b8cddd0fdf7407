"""What is done to a captured graph, a file for each; ``contract`` says what a pass is, ``pipeline`` their order."""
