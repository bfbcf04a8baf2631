"""A launcher that loses workers."""

from hydra._internal.core_plugins.basic_launcher import BasicLauncher


class Losing:
    """A launcher that loses workers: the cells that it says, the first time that it is called."""

    def __init__(self, lost):
        self.lost, self.calls = set(lost), []

    def __call__(self, launcher, job_overrides, initial_job_idx):
        task, skip = launcher.task_function, launcher.task_function.skip
        numbers = set(range(len(job_overrides))) - skip
        self.calls.append(sorted(numbers))
        try:
            task.skip = skip | self.lost
            BasicLauncher.launch(launcher, job_overrides, initial_job_idx)
        finally:
            task.skip = skip
        if self.lost:
            self.lost = set()
            raise RuntimeError("a worker was killed")
        return []
