//go:build race

package proxy_test

// raceOn: the race detector makes allocation-heavy tests ten times slower, and
// it changes how much memory they take, so they run with less.
const raceOn = true
