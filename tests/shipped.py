"""The options that this template ships. A fork adds its own, to have them composed and trained by the tests too."""

SHIPPED = {
    "task": ("classification", "regression"),
    "data": ("arrays", "cifar10", "diabetes", "digits", "fashion_mnist"),
    "model": ("cnn", "mlp", "wide_resnet"),
    "optimizer": ("adam", "adamw", "momentum", "nadam", "nesterov", "rmsprop", "sgd"),
    "schedule": ("constant", "cosine", "linear"),
    "trainer": ("ddp", "default"),
    "logger": ("none", "wandb"),
    "experiment": ("diabetes_mlp", "fashion_mnist_cnn", "fashion_mnist_mlp"),
}
