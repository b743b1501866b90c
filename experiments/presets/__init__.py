"""Published results as files of options: `--preset der_pp/cifar10-500`."""
