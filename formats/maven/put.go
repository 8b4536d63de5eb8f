package maven

import (
	"strings"

	"larder/formats"
)

// routePut parses the path of a deployed file. It is the layout that reading
// uses; what has no place in it is the client's mistake.
func routePut(rq *formats.Request) (formats.Target, error) {
	t, err := routePath(rq)
	if err != nil {
		return formats.Target{}, misplaced(err)
	}
	switch t.Kind {
	case formats.KindListing:
		t.Deed, t.File = formats.DeedMetadata, metadataFile
	case formats.KindSidecar:
		t.Deed, t.File, t.Derive = formats.DeedPublish, t.Derive.File, nil
	case formats.KindAsset:
		t.Deed = formats.DeedPublish
		if isSnapshot(t.Version) {
			return formats.Target{}, formats.Refuse(formats.BadRequest, "the version %s has builds only if it ends in -%s", t.Version, snapshot)
		}
	default:
		if t.Version == "" {
			return formats.Target{}, formats.Refuse(formats.BadRequest, "%s is not kept here", printable(t.Doc))
		}
		return formats.Target{}, formats.Refuse(formats.BadRequest, "files of %s must carry a timestamp and a build number: snapshots without them are not kept here", t.Version)
	}
	t.Kind = formats.KindPublish
	return t, nil
}

// misplaced makes the refusal of a path that does not exist one of a request
// that is wrong.
func misplaced(err error) error {
	r := formats.AsRefusal(err)
	if r.Kind != formats.NotFound {
		return err
	}
	return formats.Refuse(formats.BadRequest, "%s", r.Message)
}

// pomFile is the name of the POM that describes a version or build.
func pomFile(n formats.Name, version string) string {
	_, artifact := coordinates(n)
	return artifact + "-" + version + ".pom"
}

// Coordinate splits "group:artifact". The document of a plugin group has the
// name of its path: its last segment counts as the artifact.
func (*Format) Coordinate(n formats.Name) (namespace, pkg string) { return coordinates(n) }

// FromCoordinate is the inverse; Maven always has a namespace, the group.
func (*Format) FromCoordinate(namespace, pkg string) (formats.Name, error) {
	if namespace == "" || pkg == "" {
		return formats.Name{}, formats.Refuse(formats.BadRequest, "a Maven package has a namespace (its group) and a name")
	}
	n, err := routeName(strings.Split(namespace, "."), pkg)
	if err != nil {
		return formats.Name{}, misplaced(err)
	}
	return n, nil
}

// AssetName is the file's own name.
func (*Format) AssetName(_ formats.Name, _, file string) string { return file }

// FileName is the asset's own name.
func (*Format) FileName(_ formats.Name, _, asset string) string { return asset }
