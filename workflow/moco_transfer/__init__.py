"""MoCo-Transfer: out-of-distribution contrastive learning for limited-data domains, reproduced."""
