// Package all is the list of the formats that larder speaks. A new format is
// one line here; nothing else in the program names one. It holds no behaviour.
package all

import (
	"larder/formats"
	"larder/formats/cargo"
	"larder/formats/generic"
	"larder/formats/golang"
	"larder/formats/maven"
	"larder/formats/npm"
	"larder/formats/pypi"
)

// Formats returns a fresh instance of every format, in the order in which
// tables show them and a repository gathers them.
func Formats() []formats.Format {
	return []formats.Format{
		npm.New(),
		pypi.New(),
		maven.New(),
		golang.New(),
		cargo.New(),
		generic.New(),
	}
}
