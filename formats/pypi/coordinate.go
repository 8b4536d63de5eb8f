package pypi

import "larder/formats"

// Coordinate: a Python project has no namespace, and goes by its normalised
// name.
func (*Format) Coordinate(n formats.Name) (namespace, pkg string) { return "", n.Canon }

// FromCoordinate takes a project name in any spelling (PEP 503).
func (*Format) FromCoordinate(namespace, pkg string) (formats.Name, error) {
	if namespace != "" {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "Python projects have no namespace")
	}
	if !validName(pkg) {
		return formats.Name{}, badName()
	}
	return formats.Name{Canon: normalizeName(pkg)}, nil
}

// AssetName is the file's own name, companions included.
func (*Format) AssetName(_ formats.Name, _, file string) string { return file }

// FileName is the inverse of AssetName.
func (*Format) FileName(_ formats.Name, _, asset string) string { return asset }
