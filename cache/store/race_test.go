//go:build race

package store

// raceEnabled makes the longest tests do less under the race detector.
const raceEnabled = true
