"""In which order: schedules over attack intensity and frequency."""
