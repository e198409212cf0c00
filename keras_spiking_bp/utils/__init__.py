"""What all rooms need: checks of arguments, shapes, seeds, parameters of neurons, kinds and copies of Keras layers."""
