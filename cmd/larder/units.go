package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. In TOML it is a string with a unit ("512MiB",
// "200GiB", "10GB"), or plain bytes with or without quotes.
type Size int64

// sizeUnits lists the accepted units, largest first so that rendering finds the
// one that divides evenly.
func sizeUnits() []struct {
	suffix string
	bytes  int64
} {
	return []struct {
		suffix string
		bytes  int64
	}{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
	}
}

// UnmarshalText parses a size. The error names the input and what to write.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	digits := strings.TrimRight(in, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	suffix := strings.TrimSpace(in[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf(`bad size %q: write a whole number with a unit, such as "512MiB" or "200GiB", or plain bytes`, in)
	}
	unit := int64(1)
	if suffix != "" {
		unit = 0
		for _, u := range sizeUnits() {
			if suffix == u.suffix {
				unit = u.bytes
			}
		}
	}
	if unit == 0 {
		return fmt.Errorf("bad size %q: unit %q is not one of KiB, MiB, GiB, TiB, KB, MB, GB, TB%s", in, suffix, sizeHint(digits, suffix))
	}
	if n > math.MaxInt64/unit {
		return fmt.Errorf("bad size %q: more than 8 EiB", in)
	}
	*s = Size(n * unit)
	return nil
}

// sizeHint spells a size with the unit that was probably meant.
func sizeHint(digits, suffix string) string {
	switch strings.ToLower(suffix[:1]) {
	case "k":
		return fmt.Sprintf(` (did you mean "%sKiB"?)`, digits)
	case "m", "g", "t":
		return fmt.Sprintf(` (did you mean "%s%siB"?)`, digits, strings.ToUpper(suffix[:1]))
	}
	return ""
}

// String renders the size with the largest unit that divides it evenly.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range sizeUnits() {
		if int64(s)%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Duration is a length of time. In TOML it is a string of numbers with units:
// "300ms", "30s", "5m", "1h30m", "7d" (a day is 24 h).
type Duration struct{ time.Duration }

// UnmarshalText parses a duration. The error names the input and what to write.
func (d *Duration) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	total, err := parseDuration(in)
	if err != nil {
		return fmt.Errorf("bad duration %q: %w", in, err)
	}
	d.Duration = total
	return nil
}

func parseDuration(in string) (time.Duration, error) {
	if in == "0" {
		return 0, nil
	}
	if in == "" {
		return 0, fmt.Errorf(`write a number with a unit, such as "30s", "5m" or "7d"`)
	}
	var total time.Duration
	for rest := in; rest != ""; {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789."))]
		after := rest[len(number):]
		unit := after[:len(after)-len(strings.TrimLeft(after, "abcdefghijklmnopqrstuvwxyzµμ"))]
		rest = after[len(unit):]
		if number == "" {
			return 0, fmt.Errorf(`write a number with a unit, such as "30s", "5m" or "7d"`)
		}
		part, err := durationPart(number, unit)
		if err != nil {
			return 0, err
		}
		if total > math.MaxInt64-part {
			return 0, fmt.Errorf("more than 292 years")
		}
		total += part
	}
	return total, nil
}

func durationPart(number, unit string) (time.Duration, error) {
	switch unit {
	case "ns", "us", "µs", "μs", "ms", "s", "m", "h":
		return time.ParseDuration(number + unit)
	case "d":
		days, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number", number)
		}
		if days*24 > math.MaxInt64/float64(time.Hour) {
			return 0, fmt.Errorf("more than 292 years")
		}
		return time.Duration(days * 24 * float64(time.Hour)), nil
	case "":
		return 0, fmt.Errorf(`a unit is missing (did you mean "%ss" or "%sm"?)`, number, number)
	}
	return 0, fmt.Errorf("unit %q is not one of ms, s, m, h, d%s", unit, durationHint(number, unit))
}

// durationHint spells a duration with the unit that was probably meant.
func durationHint(number, unit string) string {
	n, err := strconv.Atoi(number)
	if err != nil || n > 10_000 {
		return ""
	}
	switch {
	case strings.HasPrefix(unit, "day"):
		return fmt.Sprintf(` (did you mean "%dh" or "%dd"?)`, n*24, n)
	case strings.HasPrefix(unit, "w"):
		return fmt.Sprintf(` (did you mean "%dd"?)`, n*7)
	case strings.HasPrefix(unit, "h"), strings.HasPrefix(unit, "s"):
		return fmt.Sprintf(` (did you mean "%d%s"?)`, n, unit[:1])
	case strings.HasPrefix(unit, "min"):
		return fmt.Sprintf(` (did you mean "%dm"?)`, n)
	case strings.HasPrefix(unit, "mil"):
		return fmt.Sprintf(` (did you mean "%dms"?)`, n)
	}
	return ""
}

// String renders the duration without zero parts: "5m", "1h30m", "7d".
func (d Duration) String() string {
	const day = 24 * time.Hour
	if d.Duration >= day && d.Duration%day == 0 {
		return strconv.FormatInt(int64(d.Duration/day), 10) + "d"
	}
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
