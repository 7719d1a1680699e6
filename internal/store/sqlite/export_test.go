package sqlite

// SetCheckpointPages makes stores that are opened from now on merge their WAL
// after n pages.
func SetCheckpointPages(n int) { maxWALPages = n }
