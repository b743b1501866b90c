"""The table of all data sets: the module and function of each key. This file imports no heavy library."""

# Key -> `module:function`. Each function is a data source `(data_dir, seed, image_size) -> Dataset`.
DATASETS: dict[str, str] = {
    "digits": "redwood.settings.data.image_sets:digits",
    "mnist": "redwood.settings.data.image_sets:mnist",
    "fashion_mnist": "redwood.settings.data.image_sets:fashion_mnist",
    "kmnist": "redwood.settings.data.image_sets:kmnist",
    "emnist": "redwood.settings.data.image_sets:emnist",
    "cifar10": "redwood.settings.data.image_sets:cifar10",
    "cifar100": "redwood.settings.data.image_sets:cifar100",
    "svhn": "redwood.settings.data.image_sets:svhn",
    "tiny_imagenet": "redwood.settings.data.folders:tiny_imagenet",
    "omniglot": "redwood.settings.data.folders:omniglot",
    "core50": "redwood.settings.data.folders:core50",
    "dtd": "redwood.settings.data.image_sets:dtd",
    "prototypes": "redwood.settings.data.prototypes:prototypes",
    "multi_label": "redwood.settings.data.multi_label:multi_label",
    "prototypes_20": "redwood.settings.data.prototypes:prototypes_20",
    "coco": "redwood.settings.data.label_folders:coco",
    "nus_wide": "redwood.settings.data.label_folders:nus_wide",
    "image_folder": "redwood.settings.data.image_folder:image_folder",
} | {
    f"drift_{task}:{kind}": f"redwood.settings.data.drift:{task}_{kind}"
    for task in ("regression", "classification")
    for kind in ("stationary", "gradual", "abrupt", "recurring", "regional")
}
DATASETS |= {
    f"tiered_imagenet:{part}": f"redwood.settings.data.folders:tiered_imagenet_{part}"
    for part in ("train", "val", "test")
}
# Data sets that are generated or come with a library: they need no file and no network.
WITHOUT_FILES = [
    "digits",
    "prototypes",
    "prototypes_20",
    "multi_label",
    *(k for k in DATASETS if k.startswith("drift_")),
]
# Data sets that are downloaded when they are first used. The files of all others have to be put into a folder.
DOWNLOADED = ["mnist", "fashion_mnist", "kmnist", "emnist", "cifar10", "cifar100", "svhn", "dtd"]
# Data sets whose images lie in files, and may be resized when they are read.
OF_IMAGE_FILES = {"tiny_imagenet", "omniglot", "core50", "dtd", "coco", "nus_wide", "image_folder"} | {
    key for key in DATASETS if key.startswith("tiered_imagenet:")
}
# Other packages add data sets under this name.
ENTRY_POINTS = "redwood.datasets"
