"""What the trainers share: images in memory, the schedule, the device, the log of metrics."""
