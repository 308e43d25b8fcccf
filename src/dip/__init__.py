"""Deep Image Prior inpainting: a network with random weights, trained on one damaged picture alone, repairs it."""
