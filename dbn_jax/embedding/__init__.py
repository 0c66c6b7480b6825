"""PCA, logistic PCA, maps of points by UNI-SNE and t-SNE, and nearest neighbours."""
