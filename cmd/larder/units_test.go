package main

import (
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	tests := []struct {
		in   string
		want Size
		ok   bool
	}{
		{"0", 0, true}, {"17", 17, true}, {"512MiB", 512 << 20, true}, {"200GiB", 200 << 30, true},
		{"10GB", 10_000_000_000, true}, {"1 KiB", 1024, true}, {"3kB", 3000, true}, {"7B", 7, true},
		{"", 0, false}, {"MiB", 0, false}, {"-1", 0, false}, {"1.5GiB", 0, false}, {"5G", 0, false},
		{"5gib", 0, false}, {"9999999TiB", 0, false}, {"1e3", 0, false}, {"99999999999999999999", 0, false},
	}
	for _, tt := range tests {
		var got Size
		err := got.UnmarshalText([]byte(tt.in))
		if tt.ok != (err == nil) || got != tt.want {
			t.Errorf("Size(%q) = %d, %v; want %d, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
		if !tt.ok {
			continue
		}
		var again Size
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("Size(%q).String() = %q, which reads as %d, %v", tt.in, got, again, err)
		}
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {"0s", 0, true}, {"300ms", 300 * time.Millisecond, true}, {"5m", 5 * time.Minute, true},
		{"1h30m", 90 * time.Minute, true}, {"7d", 168 * time.Hour, true}, {"1.5d", 36 * time.Hour, true}, {"1d12h", 36 * time.Hour, true},
		{"7days", 0, false}, {"", 0, false}, {"5", 0, false}, {"-5m", 0, false}, {"m", 0, false}, {"1y", 0, false},
		{"1..5d", 0, false}, {"99999999999d", 0, false}, {"9e9h", 0, false}, {"200000h200000d", 0, false}, {"5 m", 0, false},
	}
	for _, tt := range tests {
		var got Duration
		err := got.UnmarshalText([]byte(tt.in))
		if tt.ok != (err == nil) || got.Duration != tt.want {
			t.Errorf("Duration(%q) = %s, %v; want %s, ok %v", tt.in, got.Duration, err, tt.want, tt.ok)
		}
		if !tt.ok {
			continue
		}
		var again Duration
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("Duration(%q).String() = %q, which reads as %s, %v", tt.in, got, again.Duration, err)
		}
	}
}
