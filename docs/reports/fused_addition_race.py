"""Iterations of a loop overwrite each other in a fused convolution, bias and addition (oneDNN). TensorFlow only.

With `parallel_iterations` above 1 the sum is wrong now and then, or the process dies; not with TF_ENABLE_ONEDNN_OPTS=0.
Grappler fuses a convolution (2D, 3D) with its bias and an addition of equal shapes. Where oneDNN cannot overwrite the
summand, it copies it by two descriptors of memory that are members of the kernel (`fuse_add_src_`, `fuse_add_dst_` in
`mkl_conv_ops.cc`), and a loop runs one kernel for several iterations at once. An addition of reshaped tensors is not
fused, and a reshape moves no data.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import sys

import tensorflow as tf

STEPS = 50
images = tf.random.stateless_uniform((STEPS, 8, 8, 8, 3), [0, 1])
kernels = tf.random.stateless_normal((3, 3, 3, 3, 3), [0, 2], stddev=0.3)
biases = tf.random.stateless_normal((3, 3), [0, 3])


def conv(inputs, i):
    """A convolution with a bias."""
    return tf.nn.bias_add(tf.nn.conv2d(inputs, kernels[i], 1, "SAME"), biases[i])


def of_step(image):
    """Two convolutions with a shortcut around the second, and one more."""
    first = conv(image, 0)
    return conv(conv(first, 1) + first, 2)


@tf.function
def total(images, parallel_iterations):
    """The sum over all steps, by a loop."""
    return tf.while_loop(
        lambda t, _: t < STEPS,
        lambda t, total: (t + 1, total + of_step(tf.gather(images, t))),
        (0, tf.zeros((8, 8, 8, 3))),
        parallel_iterations=parallel_iterations,
    )[1]


expected = tf.add_n([of_step(image) for image in images])
print("TensorFlow", tf.__version__)
for parallel_iterations in map(int, sys.argv[1:] or ("1", "4")):
    worst = max(float(tf.reduce_max(abs(total(images, parallel_iterations) - expected))) for _ in range(200))
    print(f"parallel_iterations={parallel_iterations}: largest deviation in 200 runs: {worst:.2g}", flush=True)
