"""PCA, logistic PCA and maps of points by UNI-SNE."""
