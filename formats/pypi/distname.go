package pypi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// File types of an upload (the upload API's "filetype").
const (
	typeWheel  = "bdist_wheel"
	typeSource = "sdist"
)

var errNotDistribution = errors.New("not the name of a wheel (PEP 427) or of a source distribution (PEP 625)")

// distribution is what the name of a file that may be published says.
type distribution struct {
	file     string
	canon    string
	version  string // PEP 440 normal form; the key of its row
	filetype string
	// identity is equal for files that an installer cannot tell apart, however
	// their names are spelled.
	identity string
}

// parseDistribution reads the name of a wheel or source distribution of the
// given project and version. Of the older spellings it takes those that tools
// still write: names that are not normalised, and .zip for sources.
func parseDistribution(file, canon, version string) (distribution, error) {
	d := distribution{file: file, canon: canon, version: version}
	if stem, ok := strings.CutSuffix(file, ".whl"); ok {
		return d, d.readWheel(stem)
	}
	d.filetype, d.identity = typeSource, typeSource
	stem, ok := strings.CutSuffix(file, ".tar.gz")
	if !ok {
		if stem, ok = strings.CutSuffix(file, ".zip"); !ok {
			return d, errNotDistribution
		}
	}
	return d, d.checkStem(stem)
}

// checkStem checks NAME-VERSION in a file or directory name.
func (d *distribution) checkStem(stem string) error {
	for i := range len(stem) {
		if stem[i] == '-' && validName(stem[:i]) && normalizeName(stem[:i]) == d.canon {
			return d.checkVersion(stem[i+1:])
		}
	}
	return fmt.Errorf("%q does not begin with the project's name, %s", clip(stem), d.canon)
}

func (d *distribution) checkVersion(text string) error {
	v, ok := parseVersion(text)
	if !ok || v.String() != d.version {
		return fmt.Errorf("%q is not version %s", clip(text), d.version)
	}
	return nil
}

func (d *distribution) readWheel(stem string) error {
	d.filetype = typeWheel
	fields := strings.Split(stem, "-")
	if n := len(fields); n != 5 && n != 6 {
		return errNotDistribution
	}
	if !validName(fields[0]) || normalizeName(fields[0]) != d.canon {
		return fmt.Errorf("%q is not the project's name, %s", clip(fields[0]), d.canon)
	}
	if err := d.checkVersion(strings.ReplaceAll(fields[1], "_", "-")); err != nil {
		return err
	}
	build := ""
	if len(fields) == 6 {
		build = fields[2]
		if build == "" || !digit(build[0]) || !tagText(build) {
			return fmt.Errorf("%q is not a build tag", clip(build))
		}
	}
	d.identity = strings.ToLower(build)
	for _, tags := range fields[len(fields)-3:] {
		set := strings.Split(strings.ToLower(tags), ".")
		if slices.Contains(set, "") || !tagText(tags) {
			return fmt.Errorf("%q is not a compatibility tag", clip(tags))
		}
		slices.Sort(set)
		d.identity += "-" + strings.Join(slices.Compact(set), ".")
	}
	return nil
}

// tagText reports whether s has only the characters of build and compatibility
// tags.
func tagText(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alnum(c) && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
