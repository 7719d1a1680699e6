//go:build race

package e2e

// raceDetector says that the processes are built like the test.
const raceDetector = true
