package npm

import (
	"strings"

	"larder/formats"
)

// assetName is what CodeArtifact calls the tarball of every version.
const assetName = "package.tgz"

// Coordinate splits a name: "@scope/x" is ("scope", "x").
func (f *Format) Coordinate(n formats.Name) (namespace, pkg string) {
	return n.NS, baseName(n.Canon)
}

// FromCoordinate is the inverse; the scope may be spelled with its "@".
func (f *Format) FromCoordinate(namespace, pkg string) (formats.Name, error) {
	canon := pkg
	if scope := strings.TrimPrefix(namespace, "@"); scope != "" {
		canon = "@" + scope + "/" + pkg
	}
	n, ok := parseName(canon)
	if !ok || n.NS != strings.TrimPrefix(namespace, "@") {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "%q is not an npm package name", clip(canon))
	}
	return n, nil
}

// AssetName calls the tarball "package.tgz" and leaves other files their names.
func (f *Format) AssetName(n formats.Name, version, file string) string {
	if file == tarballFile(n.Canon, version) {
		return assetName
	}
	return file
}

// FileName is the inverse of AssetName.
func (f *Format) FileName(n formats.Name, version, asset string) string {
	if asset == assetName {
		return tarballFile(n.Canon, version)
	}
	return asset
}
