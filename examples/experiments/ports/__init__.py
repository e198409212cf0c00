"""Three examples of snnTorch and SpikingJelly in Keras, with their hyper-parameters."""
