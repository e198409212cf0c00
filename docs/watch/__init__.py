"""A page on which a spiking LeNet recognises drawn digits, step by step, in the browser."""
