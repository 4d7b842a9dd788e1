"""What the trainers share: images, schedule, device, log of metrics, and the state on disk."""
