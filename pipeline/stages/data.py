"""Stage 2, data: the operator's own folder, checked and made ready for training on this host."""

from pipeline.learning.datasets import check_classes, open_dataset
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """No artifact: data stay where they are. Figures: digest, counts and classes. Raises Misconfigured."""
    from pipeline.learning.architectures import class_count, skeleton
    from pipeline.learning.checkpoints import read_model

    folder = job.identity.data / job.task.dataset
    dataset = open_dataset(folder, job.settings.cache, job.settings.validation_share)
    model = read_model(
        job.artifacts.path(job.inputs["model"]),
        job.task.architecture,
        dimension=job.task.dimension,
        max_dimension=job.settings.max_dimension,
    )
    check_classes(dataset, class_count(skeleton(model.architecture)), folder)
    held = int(dataset.held.sum())
    figures = {"dataset": dataset.digest, "samples": len(dataset.y) - held, "held": held, "classes": dataset.classes}
    return Output(figures=figures)
