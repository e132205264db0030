"""Export: from a trained model to a bundle whose graphs are compared with PyTorch before anybody sees it."""
