"""What a stage learns: batch -> one loss per sample. One file per objective."""
