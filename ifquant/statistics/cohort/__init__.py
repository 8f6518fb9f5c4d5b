"""From slides to patients, and from patients to the answer."""
