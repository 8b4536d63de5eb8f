package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Fault is one thing wrong with a configuration. Line is 0 without a file.
type Fault struct {
	Line    int
	Message string
}

// ConfigError lists everything wrong with a configuration, in file order.
type ConfigError struct {
	File   string // "" when the configuration came from defaults and flags
	Faults []Fault
}

func (e *ConfigError) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteByte('\n')
		}
		if e.File != "" && f.Line > 0 {
			fmt.Fprintf(&b, "%s:%d: ", e.File, f.Line)
		} else if e.File != "" {
			fmt.Fprintf(&b, "%s: ", e.File)
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

func (e *ConfigError) add(line int, format string, args ...any) {
	e.Faults = append(e.Faults, Fault{line, fmt.Sprintf(format, args...)})
}

// orNil returns the error if it has faults, sorted by line and each once.
func (e *ConfigError) orNil() error {
	if len(e.Faults) == 0 {
		return nil
	}
	slices.SortStableFunc(e.Faults, func(a, b Fault) int { return a.Line - b.Line })
	e.Faults = slices.Compact(e.Faults)
	return e
}

// LoadConfig reads and checks a config file. What is wrong comes back as one
// *ConfigError that lists every fault with its line. Whether the node may be
// exposed as configured is left to Validate, since flags may change the address.
func LoadConfig(path string) (*Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	if !info.Mode().IsRegular() && info.Mode()&os.ModeNamedPipe == 0 {
		return nil, fmt.Errorf("read config: %s is not a file", path)
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("read config: %s has %d bytes, the limit is %d", path, info.Size(), maxConfig)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return parseConfig(path, text)
}

// parseConfig decodes and checks text, which file names in messages.
func parseConfig(file string, text []byte) (*Config, error) {
	faults := &ConfigError{File: file}
	if len(text) > maxConfig {
		faults.add(0, "more than %d bytes", maxConfig)
		return nil, faults.orNil()
	}
	doc, err := indexDocument(file, text)
	if err != nil {
		faults.add(errorLine(err), "%s", plainMessage(err))
		return nil, faults.orNil()
	}
	cfg := DefaultConfig()
	fallback := cfg.Repository
	cfg.Repository, cfg.doc = nil, doc
	decodeAll(text, cfg, doc, faults)
	if len(faults.Faults) > 0 {
		// Checking on would blame values that were never decoded.
		return nil, faults.orNil()
	}
	fillDefaults(cfg.Connection, doc)
	if len(cfg.Repository) == 0 {
		cfg.Repository = fallback
	}
	cfg.check(faults)
	if err := faults.orNil(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// decodeAll decodes text strictly into cfg. The decoder stops at the first bad
// value, so each bad expression is blanked and the rest tried again: a person
// sees all mistakes at once.
func decodeAll(text []byte, cfg *Config, doc *document, faults *ConfigError) {
	left := bytes.Clone(text)
	for _, path := range slices.Sorted(maps.Keys(doc.kinds)) {
		if want := doc.mismatch(path); want != "" {
			faults.add(doc.lines[path], "%s: want %s", path, want)
			doc.blank(left, doc.lines[path])
		}
	}
	for range len(doc.spans) + 1 {
		var bad *toml.DecodeError
		var unknown *toml.StrictMissingError
		err := toml.NewDecoder(bytes.NewReader(left)).DisallowUnknownFields().Decode(cfg)
		switch {
		case err == nil:
			return
		case errors.As(err, &unknown):
			for _, e := range unknown.Errors {
				row, _ := e.Position()
				faults.add(row, "%s", unknownKey(e.Key()))
			}
			return
		case errors.As(err, &bad):
			row, _ := bad.Position()
			faults.add(row, "%s", badValue(bad))
			if !doc.blank(left, row) {
				return
			}
		default:
			faults.add(0, "%s", plainMessage(err))
			return
		}
		*cfg = *DefaultConfig() // what an earlier round appended must not stay
		cfg.Repository, cfg.doc = nil, doc
	}
}

func plainMessage(err error) string { return strings.TrimPrefix(err.Error(), "toml: ") }

func errorLine(err error) int {
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		row, _ := bad.Position()
		return row
	}
	var syntax *unstable.ParserError
	if errors.As(err, &syntax) {
		return 1
	}
	return 0
}
