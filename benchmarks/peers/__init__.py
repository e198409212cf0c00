"""The same networks in other libraries, each as its own documentation recommends."""

import sys

# Some of these libraries load TensorFlow through TensorBoard wherever it is installed, and never
# use it. Without this line the memory of their processes would hold TensorFlow too.
sys.modules.setdefault("tensorflow", None)
